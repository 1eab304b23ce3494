"""Learning rate as a pure function of the step: resuming needs nothing but the step number."""

from __future__ import annotations

import math

from trainer.config import RunConfig


def learning_rate(config: RunConfig, step: int) -> float:
    """Rate of optimiser step ``step`` (from 0).

    Linear warm-up from lr/w over w = warmup_epochs steps, then constant, or cosine reaching
    ``final_lr_ratio * lr`` at the last step of the horizon.
    """
    schedule, base = config.schedule, config.optim.lr
    warmup = round(schedule.warmup_epochs * config.steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / warmup
    if schedule.name == "constant":
        return base
    progress = (step - warmup) / max(1, config.horizon_steps - 1 - warmup)
    floor = base * schedule.final_lr_ratio
    return floor + (base - floor) * (math.cos(math.pi * min(1.0, progress)) + 1) / 2
