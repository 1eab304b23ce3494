"""``python -m clusters.vast COMMAND``: prices, what is rented, what it cost, and an end to it."""

from __future__ import annotations

import sys

from trainer.command.cli import dispatched

COMMANDS = {
    "doctor": (
        "clusters.vast.command.doctor",
        "what would stop a study on a rented machine, told before anything is spent",
    ),
    "offers": ("clusters.vast.command.offers", "what the market has within the limits of a cluster's file"),
    "study": ("clusters.vast.command.study", "rent, run a study, bring its records home, give the machine back"),
    "list": ("clusters.vast.command.list", "what this project has rented, on the whole account"),
    "cost": ("clusters.vast.command.cost", "what that has cost so far, and can cost at most"),
    "ssh": ("clusters.vast.command.ssh", "log into a rented machine"),
    "reap": ("clusters.vast.command.reap", "end what is overdue or broken, and prove that nothing is left"),
}
EXAMPLES = (
    "python -m clusters.vast doctor",
    "ray up clusters/vast.yaml",
    "python -m clusters.vast study studies/step2_rate.py --preset cifar100_aug_gate --max-usd 20",
    "python -m clusters.vast reap",
)


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    return dispatched("python -m clusters.vast", COMMANDS, EXAMPLES, argv)


if __name__ == "__main__":
    sys.exit(main())
