"""``python -m studies COMMAND``: tools around a study. Studies themselves are files: ``python
studies/step2_rate.py``."""

from __future__ import annotations

from trainer.command import early_interrupt

if __name__ == "__main__":
    early_interrupt.begin()

import sys  # noqa: E402

from trainer.command.cli import dispatched  # noqa: E402

# name: (module, one line of help)
COMMANDS = {
    "list": (
        "studies.command.study_list",
        "which studies can be run, and which are in the results folder, finished or not",
    ),
    "doctor": (
        "studies.doctor.command",
        "what would go wrong with a study on this machine or cluster, told beforehand",
    ),
    "replay": (
        "studies.replay.command",
        "recorded learning curves under other stopping rules: what would each have cost and found?",
    ),
    "power": (
        "analysis.tables.power",
        "what the seeds of recorded studies could resolve, and how many seeds a difference takes",
    ),
}
EXAMPLES = (
    "python -m studies list",
    "python -m studies doctor --preset cifar100_aug_30 --gpus-per-trial 1",
    "python -m studies replay studies/replay/recorded/rotation.jsonl.gz",
    "python -m studies power results/step2_rate_digits --difference 3",
    "python studies/step2_rate.py --quick",
)


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    return dispatched("python -m studies", COMMANDS, EXAMPLES, argv)


if __name__ == "__main__":
    sys.exit(main())
