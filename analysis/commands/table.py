"""``python -m analysis table``: the tables of a paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.cli import Parser
from trainer.errors import UsageError

if TYPE_CHECKING:
    from analysis.layout import Sheet

FORMATS, CSV = ("md", "latex", "csv", "html"), "csv"
EXAMPLES = (
    "python -m analysis table results/step2_rate_digits",
    "python -m analysis table results/step2_rate_digits --format latex --out table.tex",
    "python -m analysis table results/* --format csv --table contrasts",
)
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read"}


def main(argv: list[str]) -> int:
    """Exit code."""
    parser = Parser(
        prog="python -m analysis table",
        description=(
            "The comparison of a study as a paper prints it: arms with mean, interval, n and epoch, the search's score"
            " beside the confirmed one; contrasts with adjusted verdict, effect size, probability of improvement, the"
            " smallest difference that could be resolved and the seeds needed. CSV is unrounded."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("paths", nargs="+", metavar="STUDY", help="a study's folder, or the results folder")
    parser.add_argument("--table", choices=("arms", "contrasts"), help="only one of the two (CSV: needed)")
    add_output(parser)
    options = parser.parse_args(argv)
    if options.format == CSV and options.table is None:
        raise UsageError("--format csv: a CSV file holds one table; add --table arms or --table contrasts")
    import analysis
    from analysis.comparison import TABLES, arm_numbers, comparison, contrast_numbers

    frames = analysis.load(*options.paths)
    if frames.studies.empty:
        raise UsageError(
            f"{options.paths[0]} holds no study, and only studies are compared; see analysis export --help"
        )
    if options.format == CSV:
        numbers = arm_numbers(frames) if options.table == "arms" else contrast_numbers(frames)
        write(numbers.to_csv(index=False), options.out)
        return 0
    sheets = comparison(frames, (options.table,) if options.table else TABLES)
    if not sheets:
        names = ", ".join(frames.studies["study"])
        raise UsageError(
            f"{names}: nothing has been compared yet, so there is no table; wait, or continue with --resume"
        )
    write(rendered(sheets, options.format), options.out)
    return 0


def add_output(parser: Parser) -> None:
    """--format and --out."""
    parser.add_argument("--format", choices=FORMATS, default="md", help="of the table (default: md)")
    parser.add_argument("--out", type=Path, help="file to write, or replace (default: the terminal)")


def rendered(sheets: list[Sheet], form: str) -> str:
    """Tables in one of ``FORMATS`` but CSV."""
    from analysis import formats

    return {"md": formats.to_markdown, "latex": formats.to_latex, "html": formats.to_html}[form](sheets)


def write(text: str, out: Path | None) -> None:
    """To a file, or print it."""
    from trainer.records import write_atomically

    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(f"written to {out}")
