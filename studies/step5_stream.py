"""What keeps a model from forgetting on a stream of classes: replay, consolidation, or nothing?

    python studies/step5_stream.py --quick      fewer trials and arms
    python studies/step5_stream.py              all arms, and eight trials for the strength of consolidation

Digits two classes at a time, five segments. Arms are compared at the stream's end only, and all of them have then seen
the same images in the same order.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402

TEACHERS, HELD = ("stopgrad", "ema"), ("si", "ewc")
ACC, FORGETTING = "linacc.acc/z_agg@M", "linacc.forgetting/z_agg@M"
REPLAY = {"data.stream.replay": {"kind": "reservoir", "capacity": 200, "ratio": 0.5}}
STRENGTH = {"si": (0.1, 100.0), "ewc": (10.0, 100_000.0)}
"""Range of each kind of consolidation; searched on validation images, without a teacher."""
GRID = {"si": (1.0, 10.0, 100.0, 0.1), "ewc": (100.0, 1_000.0, 10_000.0, 100_000.0)}
MIDDLE = {"si": 10.0, "ewc": 1_000.0}
"""Strengths under the ema teacher, which are not searched."""


def space(trial: Any) -> dict[str, Any]:
    """How hard earlier weights are held."""
    kind = trial.suggest_categorical("held", HELD)
    strength = trial.suggest_float(f"strength_{kind}", *STRENGTH[kind], log=True)
    return {**teachers("stopgrad"), **consolidated(kind, strength)}


def first_points() -> list[dict[str, Any]]:
    """A coarse grid of each level."""
    return [{"held": kind, f"strength_{kind}": GRID[kind][turn]} for turn in range(4) for kind in HELD]


def consolidated(kind: str, strength: float) -> dict[str, Any]:
    return {"objective.consolidate.kind": kind, "objective.consolidate.strength": strength}


def teachers(name: str) -> dict[str, Any]:
    """The settings of a teacher; the half-life is short, as a stream is."""
    return {"objective.teacher": name, "objective.ema": {"half_life": 0.02} if name == "ema" else None}


def arms(quick: bool) -> tuple[Arm, ...]:
    """Each kind of arm under both teachers, each beside the one that does nothing about forgetting."""
    found = []
    kinds = {"finetune": {}, "replay": REPLAY, "joint": {"data.stream.order": "joint"}}
    held = {kind: consolidated(kind, strength) for kind, strength in MIDDLE.items()}
    for teacher, (name, settings) in product(TEACHERS, {**kinds, **held}.items()):
        # without a teacher the strength of consolidation is searched
        if name in held and (quick or teacher == "stopgrad"):
            continue
        settings = {**teachers(teacher), **settings}
        reference = None if name == "finetune" else f"{teacher}/finetune"
        found.append(Arm(f"{teacher}/{name}", "grid", f"{teacher} {name}", settings, reference))
    return tuple(found)


def contrasts(_: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    replay = [
        Contrast(f"replay, {teacher}, {words}", f"{teacher}/replay", f"{teacher}/finetune", metric)
        for teacher, (metric, words) in product(TEACHERS, ((ACC, "ACC"), (FORGETTING, "forgetting")))
    ]
    held = [Contrast(f"{kind}, ACC", f"best/{kind}", "stopgrad/finetune", ACC) for kind in STRENGTH]
    return (*replay, *held)


STUDY = Study(
    name="step5_stream",
    question=__doc__.splitlines()[0],
    space=space,
    trials=8,
    strata=Strata("held", HELD),
    first_points=first_points,
    arms=arms,
    contrasts=contrasts,
    metric=ACC,
    also=(FORGETTING, "linacc.anytime/z_agg@M", "r2_action.feature_std.acc/z_pair@2", "rank_pr.acc/z@M"),
    settings={
        "held": "objective.consolidate.kind", "strength": "objective.consolidate.strength",
        "teacher": "objective.teacher",
    },
    shown={"teacher": Show(), "held": Show(), "strength": Show("c", "c, strength of consolidation")},
    overrides=(
        "data.stream.kind=classes", "data.draws_per_epoch=4", "optim.batch_size=16",
        "schedule.name=constant", "schedule.final_lr_ratio=null", "schedule.warmup_epochs=0",
        "schedule.horizon_epochs=5", "epochs=5",
    ),
    defaults={"stopping": "none", "top_k": 1, "race": 0},
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
