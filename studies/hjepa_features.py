"""What does each feature of H-JEPA change, alone, around the default?

    python studies/hjepa_features.py --quick

Every arm differs from the default in one feature and is compared with it on the same seeds. Kernels and checkpointing
compute the same numbers and are not asked about; colours and mixing need colour images.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Control, Study  # noqa: E402

BASE = {"objective.weights.vicreg": 1.0}
"""The default has a regulariser: without one all arms collapse on digits, and collapsed arms do not compare."""
FEATURES = {
    "rope": {"model.encoder.vit.positions": "rope"},
    "layer_scale": {"model.encoder.vit.layer_scale": 1e-2},
    "levels": {"model.levels": 3},
    "fpn": {"model.levels": 3, "model.fpn.width": 48},
    "local_crops": {"data.standard.locals": {"count": 2, "side": 16}, "objective.locals": "local_context"},
    "cross_crops": {"data.standard.locals": {"count": 2, "side": 16}, "objective.locals": "cross_crop"},
    "c_jepa": {"objective.weights.c_jepa": 0.001, "data.standard.views": 2},
    "nt_xent": {"objective.weights.nt_xent": 0.1, "data.standard.views": 2},
    "sigreg": {"objective.weights.sigreg": 0.02},
    "mixup": {"data.standard.mixup": 0.8},
}
PRIMARY = ("rope", "fpn", "local_crops", "c_jepa", "nt_xent", "sigreg")
QUICK = ("rope", "fpn", "sigreg")
UNTRAINED = Control("untrained", "untrained encoder", BASE, must="start")


def arms(quick: bool) -> tuple[Arm, ...]:
    """The default and each feature on."""
    named = {name: FEATURES[name] for name in (QUICK if quick else FEATURES)}
    on = (Arm(name, "grid", name.replace("_", " "), BASE | keys, "default") for name, keys in named.items())
    return (Arm("default", "default", "default", BASE), *on)


STUDY = Study(
    name="hjepa_features",
    question=__doc__.splitlines()[0],
    arms=arms,
    contrasts=lambda known: (
        Contrast(f"{arm.label} minus default", arm.key, "default") for arm in known if arm.key in PRIMARY
    ),
    controls=(UNTRAINED,),
    also=("knn20/z_agg@M", "std/z_agg@M"),
    defaults={"preset": "h_jepa_digits"},
    quick={"epochs": 10},
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
