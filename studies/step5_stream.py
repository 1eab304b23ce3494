"""What keeps a model from forgetting on a stream of classes: replay, consolidation, or nothing?

    python studies/step5_stream.py --quick      two strengths of each kind of consolidation, and no cumulative arms
    python studies/step5_stream.py              all arms, and three strengths

Digits two classes at a time, five segments. Arms are compared at the stream's end only, and all of them have then seen
the same images in the same order. How strongly weights are held is searched on validation images, for each kind and
each teacher by itself.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402

TEACHERS = ("stopgrad", "ema")
ACC, FORGETTING = "linacc.acc/z_agg@M", "linacc.forgetting/z_agg@M"
REPLAY = {"data.stream.replay": {"kind": "reservoir", "capacity": 200, "ratio": 0.5}}
WINDOW = {"objective.rate.window": {"form": "rows", "rows": 512, "decay": 0.9}}
"""The rate of what is replayed and of the steps before: a local coding rate."""
STRENGTH = {"si": (0.1, 100.0), "ewc": (10.0, 100_000.0)}
"""Range of each kind of consolidation."""
GRID = {"si": (10.0, 1.0, 100.0), "ewc": (1_000.0, 100.0, 10_000.0)}
HELD = tuple(f"{kind} {teacher}" for teacher, kind in product(TEACHERS, STRENGTH))


def space(trial: Any) -> dict[str, Any]:
    """How hard earlier weights are held."""
    held = trial.suggest_categorical("held", HELD)
    kind, teacher = held.split()
    strength = trial.suggest_float(f"strength_{kind}", *STRENGTH[kind], log=True)
    return {
        **teachers(teacher), "objective.consolidate.kind": kind, "objective.consolidate.strength": strength,
    }  # fmt: skip


def first_points() -> list[dict[str, Any]]:
    """A coarse grid of each level."""
    points = []
    for turn, held in product(range(3), HELD):
        kind = held.split()[0]
        points.append({"held": held, f"strength_{kind}": GRID[kind][turn]})
    return points


def teachers(name: str) -> dict[str, Any]:
    """The settings of a teacher; the half-life is short, as a stream is."""
    return {"objective.teacher": name, "objective.ema": {"half_life": 0.02} if name == "ema" else None}


def arms(quick: bool) -> tuple[Arm, ...]:
    """Each kind of arm under both teachers, each beside the one that does nothing about forgetting."""
    kinds = {
        "finetune": {}, "replay": REPLAY, "replay + LCR": {**REPLAY, **WINDOW},
        "cumulative": {"data.stream.order": "cumulative"}, "joint": {"data.stream.order": "joint"},
    }  # fmt: skip
    if quick:
        del kinds["cumulative"]
    found = []
    for teacher, (name, settings) in product(TEACHERS, kinds.items()):
        reference = None if name == "finetune" else f"{teacher}/finetune"
        peer = f"{teacher}/replay" if name == "replay + LCR" else None
        settings = {**teachers(teacher), **settings}
        found.append(Arm(f"{teacher}/{name}", "grid", f"{teacher} {name}", settings, reference, peer=peer))
    return tuple(found)


def contrasts(_: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    replay = [
        Contrast(f"replay, {teacher}, {words}", f"{teacher}/replay", f"{teacher}/finetune", metric)
        for teacher, (metric, words) in product(TEACHERS, ((ACC, "ACC"), (FORGETTING, "forgetting")))
    ]
    window = [
        Contrast(f"LCR beside replay, {teacher}, ACC", f"{teacher}/replay + LCR", f"{teacher}/replay", ACC)
        for teacher in TEACHERS
    ]
    return (*replay, *window)


def label(params: dict[str, Any], _: int) -> str:
    kind, teacher = params["held"].split()
    return f"{teacher} {kind} c={params['strength']:.3g}"


STUDY = Study(
    name="step5_stream",
    question=__doc__.splitlines()[0],
    space=space,
    trials=12,
    strata=Strata("held", HELD),
    label=label,
    first_points=first_points,
    arms=arms,
    contrasts=contrasts,
    metric=ACC,
    also=(
        FORGETTING, "linacc.anytime/z_agg@M", "linacc.frozen_first_acc/z_agg@M",
        "r2_action.feature_std.acc/z_pair@2", "rank_pr.acc/z@M",
    ),
    settings={
        "held": "objective.consolidate.kind + objective.teacher", "strength": "objective.consolidate.strength",
        "teacher": "objective.teacher",
    },
    shown={"teacher": Show(), "held": Show(), "strength": Show("c", "c, strength of consolidation")},
    overrides=(
        "data.stream.kind=classes", "data.draws_per_epoch=4", "optim.batch_size=16",
        "schedule.name=constant", "schedule.final_lr_ratio=null", "schedule.warmup_epochs=0",
        "schedule.horizon_epochs=5", "epochs=5", "objective.weights.rate=0.1",
    ),
    defaults={"stopping": "none", "top_k": 1, "race": 0},
    quick={"num_trials": 8},
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
