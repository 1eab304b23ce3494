"""A study of one arm, an EMA teacher with the rate: the shortest that has a teacher, probes and a table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from studies import Arm, Study  # noqa: E402

SETTINGS = {"objective.teacher": "ema", "objective.ema": {"half_life": 0.05}, "objective.weights.rate": 0.1}
STUDY = Study(
    "one_arm",
    "What does an EMA teacher with the rate reach?",
    arms=lambda _: (Arm("ema", "grid", "ema λ=0.1", SETTINGS),),
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
