"""``python -m analysis status``: what runs, how far the milestones are, what it cost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from trainer.command.cli import Parser
from trainer.errors import EXIT_USAGE, UsageError

EXAMPLES = ("python -m analysis status", "python -m analysis status results")
EXITS = {0: "printed", 2: "wrong command, or a study that cannot be read (the others are shown)"}


def main(argv: list[str]) -> int:
    """Exit code; a study that cannot be read is one line, and the others are shown all the same."""
    parser = Parser(
        prog="python -m analysis status",
        description=(
            "All studies of a results folder: which run, what they say, what they took and cost; and how far the plan's"
            " milestones are. Everything is computed from the records."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument(
        "results", nargs="?", type=Path, default=Path("results"), help="results folder (default: results)"
    )
    options = parser.parse_args(argv)
    import sys

    import analysis
    from analysis.rendering.layout import say, show
    from analysis.report import terminal
    from analysis.tables.milestones import milestones
    from analysis.tables.overview import milestones_sheet, running, studies_sheet

    if not options.results.is_dir():
        raise UsageError(f"{options.results}: there is no such folder; give the results folder of your studies")
    unread: list[UsageError] = []
    holds = any((child / "study.json").is_file() or (child / "runs").is_dir() for child in options.results.iterdir())
    frames = analysis.load(*([options.results] if holds else []), damaged=unread.append)
    for error in unread:
        print(f"error: {error}", file=sys.stderr, flush=True)
    now, console = datetime.now(UTC), terminal()
    if len(frames.studies):
        show(studies_sheet(frames, now), console)
        say("", console)
        for sentence in running(frames, now):
            say(sentence, console)
    else:
        say(f"{options.results} holds no study yet; begin one with python studies/step2_rate.py --quick", console)
    say("", console)
    show(milestones_sheet(milestones(frames, analysis.REFERENCE / "milestones.json")), console)
    return EXIT_USAGE if unread else 0
