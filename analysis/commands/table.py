"""``python -m analysis table``: the tables of a paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.command.cli import Parser
from trainer.errors import UsageError

if TYPE_CHECKING:
    from analysis.rendering.layout import Sheet

FORMATS, CSV = ("md", "latex", "csv", "html"), "csv"
NAMES = ("arms", "contrasts", "gates", "leakage", "subspace", "cost")
EXAMPLES = (
    "python -m analysis table results/step2_rate_digits",
    "python -m analysis table results/step2_rate_digits --format latex --out table.tex",
    "python -m analysis table results/* --format csv --table contrasts",
    "python -m analysis table results/step2_variants_digits --table gates",
)
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read"}


def main(argv: list[str]) -> int:
    """Exit code."""
    parser = Parser(
        prog="python -m analysis table",
        description=(
            "The tables of a paper. arms: mean, interval, n and epoch, the search's score beside the confirmed one;"
            " contrasts: adjusted verdict, effect size, probability of improvement, what could be resolved, seeds"
            " needed; gates: every rule, its value and threshold, per run and as each arm's share; leakage: what a view"
            " knows beside the aggregate and its controls; subspace: the suite's numbers beside baselines and nulls;"
            " cost: hours and dollars. What a study lacks is said below its table. CSV is unrounded."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("paths", nargs="+", metavar="STUDY", help="a study's folder, or the results folder")
    parser.add_argument("--table", choices=NAMES, help="which one (default: arms and contrasts; CSV: needed)")
    add_output(parser)
    options = parser.parse_args(argv)
    if options.format == CSV and options.table is None:
        raise UsageError(f"--format csv: a CSV file holds one table; add --table and one of {', '.join(NAMES)}")
    import analysis
    from analysis.tables.paper_tables import USUAL, paper_tables

    frames = analysis.load(*options.paths, strict=True)
    if frames.studies.empty:
        raise UsageError(
            f"{options.paths[0]} holds no study, and only studies are compared; see analysis export --help"
        )
    found = [paper_tables(frames, name, progress=True) for name in ([options.table] if options.table else USUAL)]
    sheets = [sheet for _, of_table in found for sheet in of_table]
    if not any(sheet.rows for sheet in sheets):
        said = " ".join(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
        raise UsageError(f"{', '.join(frames.studies['study'])}: no {options.table or 'table'} to print. {said}")
    if options.format == CSV:
        write(found[0][0].to_csv(index=False), options.out)
        for sheet in sheets:
            if not sheet.rows:
                print(f"note: {sheet.title}: {' '.join(sheet.notes)}", file=sys.stderr)
        return 0
    write(rendered(sheets, options.format), options.out)
    return 0


def add_output(parser: Parser) -> None:
    """--format and --out."""
    parser.add_argument("--format", choices=FORMATS, default="md", help="of the table (default: md)")
    parser.add_argument("--out", type=Path, help="file to write, or replace (default: the terminal)")


def rendered(sheets: list[Sheet], form: str) -> str:
    """Tables in one of ``FORMATS`` but CSV."""
    from analysis.rendering import formats

    return {"md": formats.to_markdown, "latex": formats.to_latex, "html": formats.to_html}[form](sheets)


def write(text: str, out: Path | None) -> None:
    """To a file, or print it."""
    from trainer.record.run import write_atomically

    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(f"written to {out}")
