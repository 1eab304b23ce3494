"""What does a stream of single images learn that batches and epochs do not?

    python studies/step5_online.py --quick      batches of 8, 16 and 64, group norm
    python studies/step5_online.py              single images too; running norm, batch-norm where there is a batch

Digits in random order, four times each with new views, measured after every 1,100 samples; the reference has as many
samples as four epochs. Group norm and running statistics need no batch; all arms have a coding rate over about as many
past rows, and the learning rate goes with the root of the batch. How soon each gets somewhere:

    python -m analysis samples results/step5_online_digits --reach 45 --metric linacc_live/z_agg
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

BATCHES, USUAL, PASSES = (1, 8, 16, 64), 64, 4
NORMS = ("group", "running", "batch")
"""With one segment ``frozen`` and ``per_segment`` are ``running``."""
R2 = "r2_action.feature_std/z_pair@2"


def settings(norm: str, batch: int) -> dict[str, Any]:
    """A batch, and what goes with it."""
    return {
        "model.norm": norm, "optim.batch_size": batch, "optim.lr": 2e-3 * (batch / USUAL) ** 0.5,
        # rows lose as much of their weight per sample, whatever the batch
        "objective.rate.window": {"form": "rows", "rows": 512, "decay": 0.9 ** (batch / 16)},
    }  # fmt: skip


def arms(quick: bool) -> tuple[Arm, ...]:
    """Epochs, and a stream of every batch, under each norm; a row alone has no batch statistics."""
    stream = {"data.stream": {"kind": "stationary", "checks": PASSES}, "data.draws_per_epoch": PASSES}
    whole = {"data.stream": None, "data.draws_per_epoch": 1}
    found = []
    for norm in NORMS[:1] if quick else NORMS:
        epochs = f"{norm}/epochs"
        found.append(Arm(epochs, "grid", f"epochs of batches of {USUAL}, {norm} norm", settings(norm, USUAL) | whole))
        for batch in BATCHES[1:] if quick or norm == "batch" else BATCHES:
            label = (
                f"stream of batches of {batch}, {norm} norm" if batch > 1 else f"stream of single images, {norm} norm"
            )
            found.append(Arm(f"{norm}/stream/{batch}", "grid", label, settings(norm, batch) | stream, epochs))
    return tuple(found)


def contrasts(arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """Streams against epochs, where the norm is one that single images can have."""
    own = [arm for arm in arms if arm.reference == "group/epochs"]
    return tuple(Contrast(f"{arm.label}, accuracy", arm.key, arm.reference) for arm in own)


STUDY = Study(
    name="step5_online",
    question=__doc__.splitlines()[0],
    arms=arms,
    contrasts=contrasts,
    also=(R2, "rank_pr/z@M", "linacc/z_mean@M"),
    settings={"norm": "model.norm", "batch": "optim.batch_size", "stream": "data.stream.kind"},
    shown={"norm": Show(), "batch": Show("b", "batch"), "stream": Show()},
    overrides=(
        f"epochs={PASSES}", f"schedule.horizon_epochs={PASSES}", "schedule.name=constant",
        "schedule.final_lr_ratio=null", "schedule.warmup_epochs=0", "objective.weights.rate=0.1",
    ),
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
