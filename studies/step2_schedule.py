"""Does a cosine schedule or a warm-up help the coding rate, with and without a teacher?

    python studies/step2_schedule.py --quick

Constant against cosine, each with several warm-ups, under a stop-gradient and an EMA teacher; everything else is equal.
"""

from __future__ import annotations

import os
import sys
from itertools import product

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

TEACHERS, SCHEDULES, WARMUPS = ("stopgrad", "ema"), ("constant", "cosine"), (0.0, 2.0, 6.0)
USUAL = 2.0
"""The warm-up of the primary contrasts."""


def arms(quick: bool) -> tuple[Arm, ...]:
    """All combinations; ``quick`` leaves out the longest warm-up. Each refers to the one without warm-up, and a cosine
    to its constant peer."""
    found = []
    for teacher, schedule, warmup in product(TEACHERS, SCHEDULES, WARMUPS):
        if quick and warmup > USUAL:
            continue
        settings = {"objective.teacher": teacher, "schedule.name": schedule, "schedule.warmup_epochs": warmup}
        settings |= {} if teacher == "ema" else {"objective.ema": None}
        settings |= {} if schedule == "cosine" else {"schedule.final_lr_ratio": None}
        settings |= {} if warmup else {"schedule.start_lr_ratio": None}  # what a preset says of a warm-up
        reference = f"{teacher}/{schedule}/0" if warmup else None
        peer = f"{teacher}/constant/{warmup:g}" if schedule == "cosine" else None
        label = f"{teacher} {schedule} warm-up {warmup:g}"
        found.append(Arm(f"{teacher}/{schedule}/{warmup:g}", "grid", label, settings, reference, peer=peer))
    return tuple(found)


def contrasts(_: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    cosine = [
        Contrast(f"cosine minus constant, {t}", f"{t}/cosine/{USUAL:g}", f"{t}/constant/{USUAL:g}") for t in TEACHERS
    ]
    warmup = [
        Contrast(f"warm-up, {t} {s}", f"{t}/{s}/{USUAL:g}", f"{t}/{s}/0") for t, s in product(TEACHERS, SCHEDULES)
    ]
    return (*cosine, *warmup)


STUDY = Study(
    name="step2_schedule",
    question=__doc__.splitlines()[0],
    arms=arms,
    strata=Strata("teacher", TEACHERS),
    settings={"teacher": "objective.teacher", "schedule": "schedule.name", "warmup_epochs": "schedule.warmup_epochs"},
    shown={"teacher": Show(), "schedule": Show(), "warmup_epochs": Show("warm-up", "warm-up, epochs")},
    also=("r2_action",),
    controls=CONTROLS,
    contrasts=contrasts,
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
