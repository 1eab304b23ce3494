"""Which features should the coding rate act on: the aggregate, the views' own, or both?

    python studies/step2_target.py --quick

Each target has a search of its own for its strength, and its best arm is compared with the same network without the
rate.
"""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Contrast, Reference, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

TARGETS = ("agg", "z", "both")


def space(trial: Any) -> dict[str, Any]:
    """A target and its strength."""
    weight = trial.suggest_float("lambda_rate", 1e-3, 1.0, log=True)
    return {"objective.rate.on": trial.suggest_categorical("target", TARGETS), "objective.weights.rate": weight}


STUDY = Study(
    name="step2_target",
    question=__doc__.splitlines()[0],
    space=space,
    strata=Strata("target", TARGETS),
    # without the rate its target means nothing: all three have one reference
    reference=Reference({"objective.weights.rate": 0.0, "objective.rate.on": "agg"}, "lambda0", lambda _: "no rate"),
    settings={"target": "objective.rate.on", "lambda_rate": "objective.weights.rate"},
    shown={"target": Show(), "lambda_rate": Show("λ", "λ, weight of the coding rate")},
    also=("r2_action",),
    controls=CONTROLS,
    contrasts=lambda _: (
        *(Contrast(f"coding rate on {name}", f"best/{name}", f"best/{name}/lambda0") for name in TARGETS),
        Contrast("z minus agg", "best/z", "best/agg"),
        Contrast("both minus agg", "best/both", "best/agg"),
    ),
    first_points=lambda: [
        {"target": target, "lambda_rate": weight} for weight in (0.1, 0.03, 0.3) for target in TARGETS
    ],
    grid={"lambda_rate": (0.1, 0.03, 0.3, 0.01, 1.0)},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
