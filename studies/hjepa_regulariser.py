"""Which regulariser keeps H-JEPA's features from collapsing, and are they then better than an untrained encoder's?

    python studies/hjepa_regulariser.py             weights and half-lives of the target
    python studies/hjepa_regulariser.py --quick     one of each, without nt_xent, a third of the epochs

nt_xent compares two views of an image and trains on both. No run is stopped early: nearest-neighbour accuracy falls
below the untrained encoder's before it recovers.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from itertools import product  # noqa: E402

from studies import Arm, Contrast, Control, Show, Study  # noqa: E402

WEIGHTS = {"none": (0.0,), "vicreg": (1.0, 0.1), "sigreg": (0.02, 0.1), "rate": (0.1, 0.3), "nt_xent": (0.1, 0.3)}
"""The first of each is what the primary contrasts are about."""
HALF_LIVES = (0.2, 0.05)
PRIMARY = ("vicreg", "sigreg", "rate")
UNTRAINED = Control("untrained", "untrained encoder", {"objective.ema.half_life": HALF_LIVES[0]}, must="start")
"""Epoch 0 of the arm without a regulariser; all arms start there."""


def arms(quick: bool) -> tuple[Arm, ...]:
    """Every regulariser, weight and half-life; ``quick`` has the first of each, and none that needs two views."""
    found = []
    for name, half_life in product(WEIGHTS, HALF_LIVES[:1] if quick else HALF_LIVES):
        for weight in WEIGHTS[name][:1] if quick else WEIGHTS[name]:
            if quick and name == "nt_xent":
                continue
            settings = {"objective.ema.half_life": half_life} | (
                {"data.standard.views": 2} if name == "nt_xent" else {}
            )
            settings |= {f"objective.weights.{name}": weight} if weight else {}
            key, none = f"{name}/{weight:g}/{half_life:g}", f"none/0/{half_life:g}"
            label = f"{name} {weight:g}, half-life {half_life:g}" if weight else f"none, half-life {half_life:g}"
            found.append(Arm(key, "grid" if weight else "none", label, settings, none if weight else None))
    return tuple(found)


def contrasts(known: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """Those that need one view against the untrained encoder, in both accuracies."""
    keys = {arm.key for arm in known}
    mine = {name: f"{name}/{weights[0]:g}/{HALF_LIVES[0]:g}" for name, weights in WEIGHTS.items()}
    return tuple(
        Contrast(f"{name} minus untrained, {words}", key, "untrained", metric=metric)
        for metric, words in (("linacc/z_agg@M", "linear"), ("knn20/z_agg@M", "neighbours"))
        for name, key in mine.items()
        if key in keys and name in PRIMARY
    )


STUDY = Study(
    name="hjepa_regulariser",
    question=__doc__.splitlines()[0],
    arms=arms,
    contrasts=contrasts,
    controls=(UNTRAINED,),
    also=("knn20/z_agg@M", "std/z_agg@M", "pair_cosine/z_agg@M"),
    settings={"half_life": "objective.ema.half_life"},
    shown={"half_life": Show("half-life", "half-life of the target, of all steps")},
    defaults={"preset": "h_jepa_digits"},
    quick={"epochs": 10},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
