"""Can ToST's attention by token statistics replace softmax attention over the views, and from how many views on?

    python studies/step4_tost.py --quick

Transformer and ToST at 3, 8 and 16 observed views, everything else equal. ToST reads out by class attention (as deep as
the transformer plus the read-out) or by pooling (the transformer's parameters, within 6 %). The cost of each arm stands
beside its accuracy in the report; at so few views both attentions cost less than their projections.
"""

from __future__ import annotations

import os
import sys
from itertools import product

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from typing import Any  # noqa: E402

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

VIEWS = (3, 8, 16)
KINDS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "class_attention": {"model.tost.readout": "class_attention"},
    "pool": {"model.tost.readout": "pool", "model.tost.expand": 1.0},
}
"""The transformer, and ToST's read-outs."""
WEIGHT = 0.03


def arms(quick: bool) -> tuple[Arm, ...]:
    """All arms; ``quick`` leaves out pooling and 16 views. Each refers to the transformer with as many views."""
    found = []
    for views, (kind, own) in product(VIEWS[:2] if quick else VIEWS, KINDS.items()):
        if quick and kind == "pool":
            continue
        aggregator = "transformer" if kind == "transformer" else "tost"
        settings = {
            "data.observed_views": views,
            "model.aggregator": aggregator,
            "objective.weights.rate": WEIGHT,
            **own,
        }
        plain = aggregator == "transformer"
        label = f"{aggregator if plain else f'tost {kind}'} M={views}"
        reference = None if plain else f"transformer/{views}"
        found.append(Arm(f"{kind}/{views}", "transformer" if plain else "grid", label, settings, reference))
    return tuple(found)


def contrasts(arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """Each read-out minus the transformer at each number of views."""
    return tuple(
        Contrast(
            f"{arm.label.rpartition(' ')[0]} minus transformer, {arm.label.rpartition(' ')[2]}", arm.key, arm.reference
        )
        for arm in arms
        if arm.reference
    )


STUDY = Study(
    name="step4_tost",
    question=__doc__.splitlines()[0],
    arms=arms,
    strata=Strata("aggregator", ("transformer", "tost")),
    settings={
        "aggregator": "model.aggregator",
        "readout": "model.tost.readout",
        "observed": "data.observed_views",
        "lambda_rate": "objective.weights.rate",
    },  # fmt: skip
    shown={"aggregator": Show(), "readout": Show(), "observed": Show("M", "M, observed views")},
    also=("r2_action", "rank_pr/z@M", "rank_pr/z_agg@M"),
    controls=CONTROLS,
    contrasts=contrasts,
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
