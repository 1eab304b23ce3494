"""``python -m studies COMMAND``: tools around a study. Studies themselves are files: ``python
studies/step2_rate.py``."""

from __future__ import annotations

from trainer import early_interrupt

if __name__ == "__main__":
    early_interrupt.begin()

import difflib  # noqa: E402
import sys  # noqa: E402
from importlib import import_module  # noqa: E402

from studies import exit_codes  # noqa: E402
from trainer.cli import guarded  # noqa: E402
from trainer.errors import UsageError  # noqa: E402

# name: (module with ``main(argv) -> exit code``, one line of help); imported only when asked for
COMMANDS = {
    "list": ("studies.study_list", "which studies can be run, and which are in the results folder, finished or not"),
    "doctor": (
        "studies.doctor.command",
        "what would go wrong with a study on this machine or cluster, told beforehand",
    ),
    "replay": (
        "studies.replay.command",
        "recorded learning curves under other stopping rules: what would each have cost and found?",
    ),
}
EXAMPLES = (
    "python -m studies list",
    "python -m studies doctor --preset cifar100_aug_30 --gpus-per-trial 1",
    "python -m studies replay studies/replay/recorded/rotation.jsonl.gz",
    "python studies/step2_rate.py --quick",
)


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    return guarded(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return exit_codes.OK if words else exit_codes.USAGE
    if words[0] == "--version":
        from trainer.version import line

        print(line())
        return exit_codes.OK
    if words[0] not in COMMANDS:
        close = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"unknown command {words[0]!r}{hint}; it must be one of {', '.join(COMMANDS)}")
    return import_module(COMMANDS[words[0]][0]).main(words[1:])


def _help() -> str:
    text = ["usage: python -m studies COMMAND [options] | --version", "", "commands (each has its own --help):"]
    text += [f"  {name:<8} {about}" for name, (_, about) in COMMANDS.items()]
    text += ["", "examples:", *(f"  {example}" for example in EXAMPLES)]
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(main())
