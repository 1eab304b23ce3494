"""``python -m analysis samples``: samples until a metric reaches a threshold."""

from __future__ import annotations

from analysis.commands.table import CSV, EXITS, add_output, rendered, write
from trainer.command.cli import Parser

EXAMPLES = (
    "python -m analysis samples results/step5_online_digits --reach 50",
    "python -m analysis samples results/step5_online_digits --reach 45 --metric linacc_live/z_agg",
)


def main(argv: list[str]) -> int:
    """Exit code; 2 where no run recorded the metric."""
    parser = Parser(
        prog="python -m analysis samples",
        description=(
            "Samples that the compared runs of a study had seen when a metric of their training reached a threshold"
            " and did not fall below it again: of each arm the least, the median and the most over seeds, and how many"
            " runs get there at all. CSV has a row per run, inf where it was not reached."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("paths", nargs="+", metavar="STUDY", help="a study's folder, or the results folder")
    parser.add_argument("--reach", type=float, required=True, metavar="VALUE", help="the threshold")
    parser.add_argument(
        "--metric",
        default="progressive_linacc/z_agg",
        help="recorded at every check (default: progressive_linacc/z_agg, of streams); epochs have linacc_live/z_agg",
    )
    add_output(parser)
    options = parser.parse_args(argv)
    import analysis
    from analysis.tables.threshold import samples_to, threshold_sheet

    frames = analysis.load(*options.paths, strict=True)
    if options.format == CSV:
        text = samples_to(frames.epochs, options.reach, options.metric).to_csv(index=False)
    else:
        text = rendered([threshold_sheet(frames, options.reach, options.metric)], options.format)
    write(text, options.out)
    return 0
