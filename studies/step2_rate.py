"""Does the coding rate repair collapse, how strong must it be, and is the EMA teacher still needed?

    python studies/step2_rate.py --quick        two seeds, about two minutes on two cores
    python studies/step2_rate.py                three seeds, with a verdict

Searches lambda_rate, warm-up, schedule and teacher, then compares each teacher's best settings with the same
without the rate, and with the collapse controls, on the same seeds.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from argparse import Namespace  # noqa: E402

from search_spaces import step2_rate as space  # noqa: E402
from studies import cli  # noqa: E402
from studies.contrasts import Contrast, Declaration  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402
from studies.settings import Arm  # noqa: E402

TRIALS = 24


def declared(_: tuple[Arm, ...]) -> Declaration:
    """The question and its primary contrasts: what the rate does for each teacher, and the teachers' best arms."""
    rate = [Contrast(f"coding rate, {name}", f"best/{name}", f"best/{name}/lambda0") for name in space.TEACHERS]
    return Declaration(__doc__.splitlines()[0], (*rate, Contrast("ema minus stopgrad", "best/ema", "best/stopgrad")))


def main(argv: list[str] | None = None) -> int:
    """Entry point; see :func:`studies.cli.run` for exit codes."""

    def arms(_: Namespace):
        return CONTROLS

    keys = frozenset(("objective.teacher", "objective.ema", "objective.weights.rate", "schedule.name", "schedule.warmup_epochs"))
    about = __doc__.splitlines()[0]
    return cli.run(argv, "step2_rate", about, arms=arms, search=space, trials=TRIALS, compared_keys=keys, declared=declared)


if __name__ == "__main__":
    sys.exit(main())
