"""A study of one arm, an EMA teacher with the rate: the shortest that has a teacher, probes and a table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from studies import cli  # noqa: E402
from studies.settings import Arm  # noqa: E402

SETTINGS = {"objective.teacher": "ema", "objective.ema": {"half_life": 0.05}, "objective.weights.rate": 0.1}


def main(argv: list[str] | None = None) -> int:
    """Entry point; see :func:`studies.cli.run` for exit codes."""
    return cli.run(argv, "one_arm", __doc__, arms=lambda _: (Arm("ema", "grid", "ema λ=0.1", SETTINGS),))


if __name__ == "__main__":
    sys.exit(main())
