"""``python -m analysis log``: a study as an experiment log."""

from __future__ import annotations

from pathlib import Path

from analysis.commands.table import EXITS, write
from trainer.command.cli import Parser
from trainer.errors import UsageError

EXAMPLES = (
    "python -m analysis log results/step2_rate_digits",
    "python -m analysis log results/step2_rate_digits --out step2_rate_digits.md",
)


def main(argv: list[str]) -> int:
    """Exit code."""
    parser = Parser(
        prog="python -m analysis log",
        description=(
            "A study as an experiment log in Markdown: objective, setup, results with gates and leakage gaps,"
            " observations computed from the records, reference rows with their caveats. Implications and decisions are"
            " left open, for whoever takes them."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("study", metavar="STUDY", help="a study's folder")
    parser.add_argument("--out", type=Path, help="file to write, or replace (default: the terminal)")
    options = parser.parse_args(argv)
    import analysis
    from analysis.experiment import experiment_log

    frames = analysis.load(options.study)
    if len(frames.loaded) != 1:
        raise UsageError(f"{options.study} holds {len(frames.loaded)} studies; give the folder of one")
    write(experiment_log(frames, frames.loaded[0], analysis.load(analysis.REFERENCE)), options.out)
    return 0
