"""Do symmetric prediction or sharpened targets add anything to the coding rate, at equal strength and schedule?

    python studies/step2_variants.py --quick

The research log's experiments A to D had different strengths and schedules, and C's symmetric prediction was never
implemented. Here A (EMA teacher), B (stop-gradient), C (A with symmetric prediction) and D (B with sharpened targets)
have one strength of the rate, one schedule and the same seeds.
"""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Show, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

RATE = 0.03
"""The best strength of the digits study on fresh seeds."""
EMA: dict[str, Any] = {"objective.teacher": "ema", "objective.weights.rate": RATE}
STOPGRAD = {"objective.teacher": "stopgrad", "objective.ema": None, "objective.weights.rate": RATE}

STUDY = Study(
    name="step2_variants",
    question=__doc__.splitlines()[0],
    arms=lambda _: (
        Arm("A", "grid", f"A: EMA teacher, λ={RATE:g}", EMA),
        Arm("B", "grid", f"B: stop-gradient, λ={RATE:g}", STOPGRAD, "A"),
        Arm("C", "grid", "C: A with symmetric prediction", {**EMA, "objective.symmetric": True}, "A"),
        Arm("D", "grid", "D: B with sharpened targets", {**STOPGRAD, "objective.sharpen.form": "dino"}, "B"),
    ),
    also=("r2_action",),
    controls=CONTROLS,
    contrasts=lambda _: (
        Contrast("stop-gradient instead of EMA", "B", "A"),
        Contrast("symmetric prediction", "C", "A"),
        Contrast("sharpened targets", "D", "B"),
    ),
    settings={
        "teacher": "objective.teacher",
        "symmetric": "objective.symmetric",
        "lambda_rate": "objective.weights.rate",
    },
    shown={"teacher": Show(), "symmetric": Show(), "lambda_rate": Show("λ", "λ, weight of the coding rate")},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
