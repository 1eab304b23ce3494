"""The research log's Step 2 without its confounds: every lambda under every schedule and teacher, on paired seeds.

The log ran lambda 0.01 and 0.1 at a constant rate and 0.03 only with cosine and warm-up, so its optimum could be
the schedule's. Here lambda in {0, 0.01, 0.03, 0.1} x {cosine, constant} x {stopgrad, ema}; each arm is compared
with lambda 0 under the same schedule and teacher.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from argparse import Namespace  # noqa: E402
from itertools import product  # noqa: E402

from studies import cli  # noqa: E402
from studies.contrasts import Contrast, Declaration  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402
from studies.settings import Arm  # noqa: E402

LAMBDAS = (0.0, 0.01, 0.03, 0.1)
SCHEDULES = ("cosine", "constant")
TEACHERS = ("stopgrad", "ema")
QUESTION = "Does the coding rate help, and is the EMA teacher needed, with everything else equal?"
PRIMARY = 0.03
"""The strength that the primary contrasts are about; a quick grid, which leaves it out, takes its strongest."""


def grid(quick: bool) -> tuple[Arm, ...]:
    """All arms; ``quick`` keeps lambda 0 and 0.1."""
    arms = []
    for teacher, schedule, weight in product(TEACHERS, SCHEDULES, LAMBDAS):
        if quick and weight not in (0.0, 0.1):
            continue
        settings = {"objective.teacher": teacher, "objective.weights.rate": weight, "schedule.name": schedule}
        if teacher != "ema":
            settings["objective.ema"] = None
        if schedule == "constant":
            settings["schedule.final_lr_ratio"] = None
        key, zero = f"{teacher}/{schedule}/{weight:g}", f"{teacher}/{schedule}/0"
        role = "grid" if weight else "lambda0"
        peer = f"stopgrad/{schedule}/{weight:g}" if teacher == "ema" else None
        arms.append(Arm(key, role, f"{teacher} λ={weight:g} {schedule}", settings, zero if weight else None, peer=peer))
    return (*arms, *CONTROLS)


def declared(arms: tuple[Arm, ...]) -> Declaration:
    """The rate at one strength in each of the four settings, and EMA minus stop-gradient at that strength under each schedule."""
    weights = {float(arm.key.rpartition("/")[2]) for arm in arms if arm.role == "grid"}
    weight = PRIMARY if PRIMARY in weights else max(weights)
    rate = [
        Contrast(f"coding rate, {teacher} {schedule}", f"{teacher}/{schedule}/{weight:g}", f"{teacher}/{schedule}/0")
        for teacher, schedule in product(TEACHERS, SCHEDULES)
    ]
    teachers = [
        Contrast(f"ema minus stopgrad, {schedule}", f"ema/{schedule}/{weight:g}", f"stopgrad/{schedule}/{weight:g}") for schedule in SCHEDULES
    ]
    return Declaration(QUESTION, (*rate, *teachers))


def main(argv: list[str] | None = None) -> int:
    """Entry point; see :func:`studies.cli.run` for exit codes."""

    def arms(options: Namespace):
        return grid(options.quick)

    keys = frozenset(("objective.teacher", "objective.ema", "objective.weights.rate", "schedule.name"))
    return cli.run(argv, "step2_grid", __doc__.splitlines()[0], arms=arms, compared_keys=keys, declared=declared)


if __name__ == "__main__":
    sys.exit(main())
