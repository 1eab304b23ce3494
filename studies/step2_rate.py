"""Does the coding rate repair collapse, how strong must it be, and is the EMA teacher still needed?

    python studies/step2_rate.py --quick        few trials, about two minutes on two cores
    python studies/step2_rate.py                24 trials, about four minutes

Searches lambda_rate, warm-up, schedule and teacher, then compares each teacher's best settings with the same
without the rate, and with the collapse controls, on the same seeds.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from search_spaces import step2_rate as space  # noqa: E402
from studies import Contrast, Reference, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

EMA = Contrast(
    "ema minus stopgrad", "best/ema", "best/stopgrad", asks="Is the EMA teacher still needed with the rate?",
    words={"better": "Yes, for linear accuracy in this setting",
        "worse": "No, for linear accuracy in this setting (stopgrad is better)"},
)  # fmt: skip

STUDY = Study(
    name="step2_rate",
    question=__doc__.splitlines()[0],
    space=space.space,
    strata=Strata("teacher", space.TEACHERS),
    eligible=lambda point: point["lambda_rate"] > 0,
    reference=Reference(
        {"objective.weights.rate": 0.0}, "lambda0", lambda label: f"{label.split(' λ=')[0]} λ=0 (same settings)"
    ),
    settings=space.SETTINGS,
    shown={"teacher": Show(), "lambda_rate": Show("λ", "λ, weight of the coding rate")},
    units={"ema_half_life": "of all steps"},
    label=space.label,
    also=("r2_action",),
    controls=CONTROLS,
    contrasts=lambda _: (
        *(Contrast(f"coding rate, {name}", f"best/{name}", f"best/{name}/lambda0") for name in space.TEACHERS),
        EMA,
    ),
    first_points=space.first_points,
    grid={**space.GRID, "lambda_rate": (space.ZERO_FROM, *space.GRID["lambda_rate"])},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
