"""``python -m analysis STUDY_FOLDER [STUDY_FOLDER ...]``: the answer of each study, with its report written beside
it; ``python -m analysis COMMAND``: everything else made of records."""

from __future__ import annotations

import difflib
import sys
import textwrap
import warnings
from pathlib import Path

from trainer.command.cli import Parser, dispatched, guarded

# name: (module, one line of help)
COMMANDS = {
    "report": ("analysis.page.command", "a study as one HTML page, for any browser"),
    "live": ("analysis.page.live.command", "the same page, which follows studies while they run"),
    "table": ("analysis.commands.table", "the tables of a paper: Markdown, LaTeX, CSV or HTML"),
    "compare": ("analysis.commands.compare", "several studies in one table, or the reason why not"),
    "reference": ("analysis.commands.reference", "the research log's conclusions, and what its runs allow"),
    "status": ("analysis.commands.status", "what runs, how far the milestones are, what it cost"),
    "forgetting": ("analysis.commands.forgetting", "what a stream left of each segment, as figures"),
    "samples": ("analysis.commands.samples", "samples until a metric reaches a threshold and keeps it"),
    "log": ("analysis.commands.log", "a study as an experiment log, decisions left open"),
    "export": ("analysis.commands.export", "everything on record as tidy tables: CSV, JSON or Parquet"),
}
EXAMPLES = (
    "python -m analysis results/step2_rate_digits",
    "python -m analysis results/* --full",
    "python -m analysis report results/step2_rate_digits",
    "python -m analysis live results",
    "python -m analysis table results/step2_rate_digits --format latex --out table.tex",
    "python -m analysis export results --format parquet --out frames",
)
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read", 130: "interrupted"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    A folder that cannot be read is one line ``error: ...``; the others are reported all the same, and the code is 2.
    """
    words = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    if words and _command(words[0]):
        return dispatched("python -m analysis", COMMANDS, EXAMPLES, words)
    interrupted = "interrupted; a report that was being written is the old one or the new one, never a part"
    return guarded(lambda: _run(words), interrupted)


def _command(word: str) -> bool:
    """Whether a word is a command, or meant to be one: it looks like one and is no folder."""
    meant = bool(difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.75)) and not Path(word).exists()
    return word in COMMANDS or meant


def _run(arguments: list[str]) -> int:
    from trainer.errors import EXIT_USAGE, RecordError, UsageError, one_line

    about = (
        "Read the records of a study, finished or not, print its answer, and write STUDY_FOLDER/report: the table"
        " of compared arms with paired intervals (Markdown, CSV, Parquet), plots, what each run cost, and a verdict"
        " in sentences."
    )
    others = [f"  python -m analysis {name:<10} {line}" for name, (_, line) in COMMANDS.items()]
    parser = Parser(
        prog="python -m analysis",
        description="\n".join([*textwrap.wrap(about, 78), "", "commands (each has its own --help):", *others]),
        examples=EXAMPLES,
        exits=EXITS,
    )
    holds = "a folder with study.json, decisions.jsonl and runs/"
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY_FOLDER", help=holds)
    parser.add_argument(
        "--full", action="store_true", help="print every table and sentence, not only question, answers and table"
    )
    options = parser.parse_args(arguments)
    from analysis.report import report  # plotting libraries take seconds to import; --help must not

    code = 0
    for folder in options.folders:
        try:
            report(folder, full=options.full)
        except BrokenPipeError:
            raise
        except (UsageError, RecordError, OSError) as error:
            print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
            code = EXIT_USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
