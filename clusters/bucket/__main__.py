"""``python -m clusters.bucket COMMAND``: a study's results to a bucket and back."""

from __future__ import annotations

import sys

from trainer.command.cli import dispatched

COMMANDS = {
    "run": ("clusters.bucket.run", "run a study and send its results to a bucket as they appear"),
    "push": ("clusters.bucket.push", "send a study's folder, and read it back"),
    "pull": ("clusters.bucket.pull", "fetch a study, to go on with it here"),
}
EXAMPLES = (
    "python -m clusters.bucket run s3://bucket/studies/rate results/step2_rate_digits_quick -- "
    "python studies/step2_rate.py --quick",
    "python -m clusters.bucket push s3://bucket/studies/rate results/step2_rate_digits_quick",
    "python -m clusters.bucket pull s3://bucket/studies/rate results/step2_rate_digits_quick",
)


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code, or 2 after one line ``error: ...``."""
    return dispatched("python -m clusters.bucket", COMMANDS, EXAMPLES, argv)


if __name__ == "__main__":
    sys.exit(main())
