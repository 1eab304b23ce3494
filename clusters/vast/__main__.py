"""``python -m clusters.vast COMMAND``: prices, what is rented, what it cost, and an end to it."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

from clusters.vast.errors import VastError
from trainer.cli import guarded

COMMANDS = {
    "doctor": "what would stop a study on a rented machine, told before anything is spent",
    "offers": "what the market has within the limits of a cluster's file",
    "study": "rent, run a study, bring its records home, give the machine back",
    "list": "what this project has rented, on the whole account",
    "cost": "what that has cost so far, and can cost at most",
    "ssh": "log into a rented machine",
    "reap": "end what is overdue or broken, and prove that nothing is left",
}
EXAMPLES = (
    "python -m clusters.vast doctor",
    "ray up clusters/vast.yaml",
    "python -m clusters.vast study studies/step2_rate.py --preset cifar100_aug_gate --max-usd 20",
    "python -m clusters.vast reap",
)


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    return guarded(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        close = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise VastError(f"unknown command {words[0]!r}{hint}; it must be one of {', '.join(COMMANDS)}")
    return import_module(f"clusters.vast.command.{words[0]}").main(words[1:])


def _help() -> str:
    text = ["usage: python -m clusters.vast COMMAND [options]", "", "commands (each has its own --help):"]
    text += [f"  {name:<8} {about}" for name, about in COMMANDS.items()]
    text += ["", "examples:", *(f"  {example}" for example in EXAMPLES)]
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(main())
