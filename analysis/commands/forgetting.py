"""``python -m analysis forgetting``: what a stream left of each segment, as figures."""

from __future__ import annotations

from pathlib import Path

from analysis.commands.table import EXITS
from trainer.command.cli import Parser

EXAMPLES = (
    "python -m analysis forgetting results/step5_stream_digits --out figures",
    "python -m analysis forgetting results/step5_stream_digits --metric r2_action.feature_std/z_pair",
)


def main(argv: list[str]) -> int:
    """Exit code; prints the files it wrote."""
    parser = Parser(
        prog="python -m analysis forgetting",
        description=(
            "Two figures of a study on a stream of segments, from the records alone: a heat map of what each arm keeps"
            " of every segment, and the mean over the segments seen along the stream with bands over the seeds."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help="a study's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the figures (default: STUDY/report)")
    parser.add_argument(
        "--metric",
        default="linacc/z_agg",
        help="recorded of every segment (default: linacc/z_agg); also R2 of the actions and ranks: a name that is"
        " not on record lists those that are",
    )
    options = parser.parse_args(argv)
    from analysis.figures.forgetting import render
    from trainer.errors import otherwise

    with otherwise("name a folder of yours, as --out figures"):
        for path in render(options.study, options.out or options.study / "report", options.metric):
            print(path)
    return 0
