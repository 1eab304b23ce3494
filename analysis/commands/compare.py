"""``python -m analysis compare``: several studies in one table, or why not."""

from __future__ import annotations

from analysis.commands.table import CSV, EXITS, add_output, rendered, write
from trainer.command.cli import Parser

EXAMPLES = (
    "python -m analysis compare results/step2_rate_digits results/step2_grid_digits",
    "python -m analysis compare results/first results/second --format latex --out both.tex",
)


def main(argv: list[str]) -> int:
    """Exit code; 2 where the studies do not allow it."""
    parser = Parser(
        prog="python -m analysis compare",
        description=(
            "The arms of several studies side by side. They must measure the same: metric, probes, data set and all its"
            " settings, split and epochs; otherwise one line says what differs. No test is made across studies."
        ),
        examples=EXAMPLES,
        exits=EXITS | {2: "wrong command, or studies that differ in what they measure"},
    )
    parser.add_argument("paths", nargs="+", metavar="STUDY", help="two studies or more")
    add_output(parser)
    options = parser.parse_args(argv)
    import analysis
    from analysis.tables.side_by_side import numbers, side_by_side

    frames = analysis.load(*options.paths, strict=True)
    if options.format == CSV:
        write(numbers(frames).to_csv(index=False), options.out)
    else:
        write(rendered([side_by_side(frames)], options.format), options.out)
    return 0
