"""A search whose trials are all stopped early and none of which is compared: what is left of a trial that is stopped?

Its points have no rate, and only trials with one are confirmed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from search_spaces import step2_rate  # noqa: E402
from studies import cli  # noqa: E402

SPACE = SimpleNamespace(
    **{name: getattr(step2_rate, name) for name in ("grid_points", "corners", "overrides", "describe")},
    TEACHERS=("stopgrad",),
    RANGES={"teacher": "stopgrad", "warmup_epochs": "0 to 6"},
    first_points=list,
    stratum=lambda number: {"teacher": "stopgrad"},
    space=lambda trial: {
        "teacher": trial.suggest_categorical("teacher", ("stopgrad",)),
        "lambda_rate": 0.0,
        "schedule": "constant",
        "warmup_epochs": trial.suggest_float("warmup_epochs", 0.0, 6.0),
    },
)


def main(argv: list[str] | None = None) -> int:
    """Entry point; see :func:`studies.cli.run` for exit codes."""
    return cli.run(argv, "stopped", __doc__.splitlines()[0], arms=lambda _: (), search=SPACE, trials=3)


if __name__ == "__main__":
    sys.exit(main())
