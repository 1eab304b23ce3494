"""The research log's Step 2 without its confounds: every lambda under every schedule and teacher, on paired seeds.

The log ran lambda 0.01 and 0.1 at a constant rate and 0.03 only with cosine and warm-up, so its optimum could be
the schedule's. Here lambda in {0, 0.01, 0.03, 0.1} x {cosine, constant} x {stopgrad, ema}; each arm is compared
with lambda 0 under the same schedule and teacher.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from itertools import product  # noqa: E402

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

LAMBDAS, SCHEDULES, TEACHERS = (0.0, 0.01, 0.03, 0.1), ("cosine", "constant"), ("stopgrad", "ema")
PRIMARY = 0.03
"""The strength that the primary contrasts are about; a quick grid, which leaves it out, takes its strongest."""


def grid(quick: bool) -> tuple[Arm, ...]:
    """All arms; ``quick`` keeps lambda 0 and 0.1."""
    arms = []
    for teacher, schedule, weight in product(TEACHERS, SCHEDULES, LAMBDAS):
        if quick and weight not in (0.0, 0.1):
            continue
        settings = {"objective.teacher": teacher, "objective.weights.rate": weight, "schedule.name": schedule}
        settings |= {} if teacher == "ema" else {"objective.ema": None}
        settings |= {} if schedule == "cosine" else {"schedule.final_lr_ratio": None}
        key, zero = f"{teacher}/{schedule}/{weight:g}", f"{teacher}/{schedule}/0"
        peer = f"stopgrad/{schedule}/{weight:g}" if teacher == "ema" else None
        label = f"{teacher} λ={weight:g} {schedule}"
        arms.append(Arm(key, "grid" if weight else "lambda0", label, settings, zero if weight else None, peer=peer))
    return tuple(arms)


def contrasts(arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """The rate at one strength in each of the four settings, and EMA minus stop-gradient at that strength under each
    schedule."""
    weights = {float(arm.key.rpartition("/")[2]) for arm in arms if arm.role == "grid"}
    w = f"{PRIMARY if PRIMARY in weights else max(weights):g}"
    rate = [Contrast(f"coding rate, {t} {s}", f"{t}/{s}/{w}", f"{t}/{s}/0") for t, s in product(TEACHERS, SCHEDULES)]
    return (*rate, *(Contrast(f"ema minus stopgrad, {s}", f"ema/{s}/{w}", f"stopgrad/{s}/{w}") for s in SCHEDULES))


STUDY = Study(
    name="step2_grid",
    question="Does the coding rate help, and is the EMA teacher needed, with everything else equal?",
    arms=grid,
    strata=Strata("teacher", TEACHERS),
    also=("r2_action",),
    controls=CONTROLS,
    contrasts=contrasts,
    settings={"teacher": "objective.teacher", "lambda_rate": "objective.weights.rate"},
    shown={"teacher": Show(), "lambda_rate": Show("λ", "λ, weight of the coding rate")},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
