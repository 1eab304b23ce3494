"""``python -m analysis STUDY_FOLDER [STUDY_FOLDER ...]``: the answer of each study, with its report written beside it."""

from __future__ import annotations

import os
import sys

EXIT_INTERRUPTED, EXIT_NO_READER = 130, 141
"""As a shell reports Ctrl-C, and a reader that went away (``| head``)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    A folder that cannot be read is one line ``error: ...``; the others are reported all the same, and the code is 2.
    """
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()  # at the interpreter's end it would be too late to answer a reader that went away
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return EXIT_NO_READER
    except KeyboardInterrupt:
        print("\ninterrupted; a report that was being written is the old one or the new one, never a part", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: list[str]) -> int:
    from pathlib import Path

    from trainer.cli import Parser
    from trainer.errors import EXIT_USAGE, RecordError, UsageError

    parser = Parser(
        prog="python -m analysis",
        description="Read the records of a study, finished or not, print its answer, and write STUDY_FOLDER/report: the table of "
        "compared arms with paired intervals (Markdown, CSV, Parquet), plots, what each run cost, and a verdict in sentences.",
    )
    holds = "a folder with study.json, decisions.jsonl and runs/"
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY_FOLDER", help=holds)
    parser.add_argument("--full", action="store_true", help="print every table and sentence, not only question, answers and table")
    try:
        options = parser.parse_args(arguments)
    except UsageError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    from analysis.report import report  # plotting libraries take seconds to import; --help must not

    code = 0
    for folder in options.folders:
        try:
            report(folder, full=options.full)
        except BrokenPipeError:
            raise
        except (UsageError, RecordError, OSError) as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            code = EXIT_USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
