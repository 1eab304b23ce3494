"""``python -m analysis reference``: what was logged before, and what its comparisons are worth."""

from __future__ import annotations

from analysis.commands.table import CSV, EXITS, add_output, rendered, write
from trainer.command.cli import Parser

EXAMPLES = ("python -m analysis reference", "python -m analysis reference --format csv --out claims.csv")


def main(argv: list[str]) -> int:
    """Exit code."""
    parser = Parser(
        prog="python -m analysis reference",
        description=(
            "The conclusions of the research log beside what its runs allow: the difference, how many seeds, every"
            " setting in which the two runs differ as well, and the caveats of their records."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    add_output(parser)
    options = parser.parse_args(argv)
    import analysis
    from analysis.sentences.observed import claims, claims_sheet

    found = claims(analysis.load(analysis.REFERENCE), analysis.REFERENCE / "claims.csv")
    text = found.to_csv(index=False) if options.format == CSV else rendered([claims_sheet(found)], options.format)
    write(text, options.out)
    return 0
