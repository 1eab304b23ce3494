"""A search whose trials are all stopped early and none of which is compared: what is left of a trial that is
stopped?"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from studies import Study  # noqa: E402


def space(trial):
    warmup = trial.suggest_float("warmup_epochs", 0.0, 6.0)
    return {"objective.weights.rate": 0.0, "schedule.name": "constant", "schedule.warmup_epochs": warmup}


# only points with a rate may be confirmed, and the one corner that has one is never drawn
STUDY = Study(
    "stopped",
    "What is left of a trial that is stopped?",
    space=space,
    trials=3,
    eligible=lambda point: point["warmup_epochs"] == 6.0,
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
