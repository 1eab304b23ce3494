"""``python -m analysis STUDY_FOLDER [STUDY_FOLDER ...]``: tables, plots and a verdict for each study."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer.cli import Parser
from trainer.errors import EXIT_USAGE, UsageError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 after one line ``error: ...``)."""
    parser = Parser(
        prog="python -m analysis",
        description="Read the records of a study, finished or not, and write STUDY_FOLDER/report: the table of compared "
        "arms with paired 95 % intervals (Markdown, CSV, Parquet), plots, what each run cost, and a verdict in sentences.",
    )
    holds = "a folder with study.json, decisions.jsonl and runs/"
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY_FOLDER", help=holds)
    try:
        folders = parser.parse_args(sys.argv[1:] if arguments is None else arguments).folders
        from analysis.report import report  # plotting libraries take seconds to import; --help must not

        for folder in folders:
            report(folder)
    except (UsageError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
