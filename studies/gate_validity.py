"""Does the order of arms a third of the way through predict their order at the end?

    python studies/gate_validity.py             90 epochs, judged at 10 and 30, where the gate stands
    python studies/gate_validity.py --quick     18 epochs, judged at 2 and 6

Random arms of step 2, none stopped early: the rank correlation of each earlier epoch with the last, with its interval,
and what choosing the best arm there would have cost.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from search_spaces import step2_rate as space  # noqa: E402
from studies import Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

STUDY = Study(
    name="gate_validity",
    question=__doc__.splitlines()[0],
    space=space.space,
    strata=Strata("teacher", space.TEACHERS),
    settings=space.SETTINGS,
    shown={"teacher": Show(), "lambda_rate": Show("λ", "λ, weight of the coding rate")},
    units={"ema_half_life": "of all steps"},
    label=space.label,
    controls=CONTROLS,
    predicts=(1 / 9, 1 / 3),
    overrides=("schedule.horizon_epochs=90",),
    defaults={"epochs": 90, "sampler": "random", "stopping": "none", "top_k": 1},
    quick={"epochs": 18, "num_trials": 8},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
