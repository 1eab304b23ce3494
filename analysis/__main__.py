"""``python -m analysis STUDY_FOLDER [STUDY_FOLDER ...]``: tables, plots and a verdict for each study."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer.cli import Parser, guarded


EXAMPLES = ("python -m analysis results/step2_rate_digits", "python -m analysis results/*")
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read", 130: "interrupted"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 after one line ``error: ...``)."""
    return guarded(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m analysis",
        description="Read the records of a study, finished or not, and write STUDY_FOLDER/report: the table of compared "
        "arms with paired 95 % intervals (Markdown, CSV, Parquet), plots, what each run cost, and a verdict in sentences.",
        examples=EXAMPLES,
        exits=EXITS,
    )
    holds = "a folder with study.json, decisions.jsonl and runs/"
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY_FOLDER", help=holds)
    folders = parser.parse_args(arguments).folders
    from analysis.report import report  # plotting libraries take seconds to import; --help must not

    for folder in folders:
        report(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
