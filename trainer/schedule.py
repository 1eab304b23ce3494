"""Learning rate as a pure function of the step: resuming needs nothing but the step number."""

from __future__ import annotations

import math

from trainer.config import RunConfig

SHAPES = {"constant": None, "cosine": lambda progress: (math.cos(math.pi * progress) + 1) / 2}
"""By ``schedule.name``: from 1 to 0 while the share of the steps after warm-up goes from 0 to 1; None: no descent."""


def learning_rate(config: RunConfig, step: int) -> float:
    """Rate of optimiser step ``step`` (from 0).

    Linear warm-up over w = warmup_epochs steps, from lr/w or from ``start_lr_ratio * lr``, then constant, or by its
    shape to ``final_lr_ratio * lr`` at the last step of the horizon. With ``per_epoch`` the epoch takes the step's
    place: warm-up lr (e+1)/w, and the floor at the last epoch.
    """
    schedule, base = config.schedule, config.optim.lr
    if schedule.per_epoch:
        position, warmup, horizon = (
            step // config.steps_per_epoch,
            round(schedule.warmup_epochs),
            schedule.horizon_epochs,
        )
    else:
        position, warmup, horizon = step, round(schedule.warmup_epochs * config.steps_per_epoch), config.horizon_steps
    if position < warmup:
        if schedule.start_lr_ratio is None:
            return base * (position + 1) / warmup
        return base * (schedule.start_lr_ratio + (1 - schedule.start_lr_ratio) * position / warmup)
    if (shape := SHAPES[schedule.name]) is None:
        return base
    progress = (position - warmup) / max(1, horizon - 1 - warmup)
    floor = base * schedule.final_lr_ratio
    return floor + (base - floor) * shape(min(1.0, progress))
