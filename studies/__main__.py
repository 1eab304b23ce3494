"""``python -m studies COMMAND``: tools around a study. Studies themselves are files: ``python studies/step2_rate.py``."""

from __future__ import annotations

from trainer import early_interrupt

if __name__ == "__main__":
    early_interrupt.begin()

import difflib  # noqa: E402
import sys  # noqa: E402
from importlib import import_module  # noqa: E402

from trainer.errors import EXIT_USAGE, UsageError  # noqa: E402

# name: (module with ``main(argv) -> exit code``, one line of help); imported only when asked for
COMMANDS = {
    "replay": (
        "studies.replay.command",
        "recorded learning curves through the decision code: what would a scheduler have cost and found?",
    ),
    "doctor": ("studies.doctor.command", "what would go wrong with a study on this machine or cluster, told beforehand"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m studies COMMAND [options]\n\ncommands (each has its own --help):")
        print("\n".join(f"  {name:<8} {about}" for name, (_, about) in COMMANDS.items()))
        return 0 if words else EXIT_USAGE
    try:
        early_interrupt.over()
        if words[0] not in COMMANDS:
            close = difflib.get_close_matches(words[0], COMMANDS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown command {words[0]!r}{hint}; it must be one of {', '.join(COMMANDS)}")
        return import_module(COMMANDS[words[0]][0]).main(words[1:])
    except (UsageError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
