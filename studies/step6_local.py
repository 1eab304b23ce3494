"""Do local losses keep what end-to-end gradients learn: accuracy, and the actions?

    python studies/step6_local.py --quick       the fully local encoders only
    python studies/step6_local.py               all stages

Latent predictive learning pulls consecutive views together, which should raise accuracy and lower R2 of the actions;
told the action it should keep R2. That is a hypothesis, which the table may refute.
"""

from __future__ import annotations

import os
import sys
from itertools import product

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Show, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

RULES, STAGES = ("lpl", "action_lpl"), ("auxiliary", "aggregator", "encoder")
R2 = "r2_action.feature_std/z_pair@2"
OF_STAGE = {"auxiliary": {"weight": 0.1}, "aggregator": {"warm_epochs": 4}, "encoder": {}}
"""Beside the main loss the local ones are weak; a frozen encoder was trained for the first third of the run."""


def arms(quick: bool) -> tuple[Arm, ...]:
    """End-to-end, and each rule at each stage."""
    found = [Arm("end-to-end", "grid", "end-to-end", {"objective.local": None})]
    for stage, rule in product(STAGES[2:] if quick else STAGES, RULES):
        settings = {f"objective.local.{name}": value for name, value in OF_STAGE[stage].items()}
        settings |= {"objective.local.stage": stage, "objective.local.rule": rule}
        found.append(Arm(f"{stage}/{rule}", "grid", f"{stage} {rule}", settings, "end-to-end"))
    return tuple(found)


def contrasts(_: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    found = [
        Contrast(f"local encoder, {rule}, {words}", f"encoder/{rule}", "end-to-end", metric)
        for rule, (metric, words) in product(RULES, ((None, "accuracy"), (R2, "R2")))
    ]
    between = [
        Contrast(f"told the action, {words}", "encoder/action_lpl", "encoder/lpl", metric)
        for metric, words in ((None, "accuracy"), (R2, "R2"))
    ]
    return (*found, *between)


STUDY = Study(
    name="step6_local",
    question=__doc__.splitlines()[0],
    arms=arms,
    contrasts=contrasts,
    also=(R2, "rank_pr/z@M", "linacc/z_mean@M"),
    controls=CONTROLS,
    settings={"stage": "objective.local.stage", "rule": "objective.local.rule"},
    shown={"stage": Show(), "rule": Show()},
    overrides=("schedule.horizon_epochs=12", "epochs=12", "objective.weights.rate=0.1"),
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
