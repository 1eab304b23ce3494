"""How strongly should the coding rate act on H-JEPA's pooled features, and how fast should its target follow?

    python studies/hjepa_rate.py             weight and half-life, searched; weak trials are stopped at half a run
    python studies/hjepa_rate.py --quick     fewer trials, a third of the epochs

7 and 2 minutes on two idle cores.

Probes of H-JEPA fall below the untrained encoder's before they recover: they were lowest at epochs 11 to 14 of 30, and
``asha`` would judge at 4 and 12. Nobody is judged before epoch 15, and nobody is stopped for a low rank: that of the
mean token is 1.4 before training.
"""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Control, Reference, Show, Study  # noqa: E402

HALF_LIFE = 0.2
NONE = Arm("none", "none", "no rate", {"objective.ema.half_life": HALF_LIFE})
UNTRAINED = Control("untrained", "untrained encoder", NONE.overrides, must="start")


def space(trial: Any) -> dict[str, Any]:
    """Weight of the rate, and half-life of the target as a share of all steps."""
    return {
        "objective.weights.rate": trial.suggest_float("weight", 1e-2, 1.0, log=True),
        "objective.ema.half_life": trial.suggest_float("half_life", 0.02, 0.5, log=True),
    }


STUDY = Study(
    name="hjepa_rate",
    question=__doc__.splitlines()[0],
    space=space,
    trials=16,
    reference=Reference({"objective.weights.rate": 0.0}, label=lambda _: "no rate, same half-life"),
    settings={"weight": "objective.weights.rate", "half_life": "objective.ema.half_life"},
    shown={
        "weight": Show("λ", "λ, weight of the coding rate"),
        "half_life": Show("half-life", "half-life of the target, of all steps"),
    },
    arms=lambda _: (NONE,),
    controls=(UNTRAINED,),
    contrasts=lambda _: (
        Contrast("best minus no rate", "best", "best/reference"),
        Contrast("best minus untrained", "best", "untrained"),
        Contrast("best minus untrained, neighbours", "best", "untrained", metric="knn20/z_agg@M"),
    ),
    also=("knn20/z_agg@M", "std/z_agg@M"),
    first_points=lambda: [{"weight": weight, "half_life": HALF_LIFE} for weight in (0.1, 0.3)],
    grid={"weight": (0.1, 0.3, 0.03), "half_life": (HALF_LIFE, 0.05)},
    defaults={"preset": "h_jepa_digits", "grace": 15, "collapse_rank": 0},
    quick={"epochs": 10, "grace": 5},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
