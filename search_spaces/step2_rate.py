"""Step 2: how strong a coding rate, under which schedule, and with or without an EMA teacher.

``ema_half_life`` exists only under the ema teacher. It is a fraction of the schedule's steps, because a
fixed decay such as tau = 0.996 (half-life 173 steps) would be slow on a run of 510 steps and fast on 200,000.
"""

from __future__ import annotations

from typing import Any

from studies.engine.spaces import zero_or_log

TEACHERS = ("stopgrad", "ema")
SCHEDULES = ("cosine", "constant")
LAMBDA = (1e-3, 1.0)
ZERO_FROM = 5e-4  # a tenth of the draws are exactly 0
WARMUP_EPOCHS = (0.0, 6.0)
HALF_LIFE = (0.002, 0.5)
# likeliest strengths first, so that a short search still brackets the optimum for every teacher
GRID = {
    "lambda_rate": (0.1, 0.03, 0.3, 0.01, 1.0),
    "ema_half_life": (0.02, 0.1, 0.005, 0.05, 0.2),
    "warmup_epochs": (0.0, 2.0, 6.0),
}
SETTINGS = {
    "teacher": "objective.teacher", "lambda_rate": "objective.weights.rate", "schedule": "schedule.name",
    "warmup_epochs": "schedule.warmup_epochs", "ema_half_life": "objective.ema.half_life",
}  # fmt: skip


def space(trial: Any) -> dict[str, Any]:
    """Suggest one point as configuration keys."""
    keys = {"objective.teacher": trial.suggest_categorical("teacher", TEACHERS)}
    keys["objective.weights.rate"] = zero_or_log(trial, "lambda_rate", *LAMBDA, zero_from=ZERO_FROM)
    keys["schedule.name"] = trial.suggest_categorical("schedule", SCHEDULES)
    keys["schedule.warmup_epochs"] = trial.suggest_float("warmup_epochs", *WARMUP_EPOCHS)
    # what the preset says of a part that the point does not have must go with it
    if keys["schedule.warmup_epochs"] == 0:
        keys["schedule.start_lr_ratio"] = None
    ema = keys["objective.teacher"] == "ema"
    keys["objective.ema"] = {"half_life": trial.suggest_float("ema_half_life", *HALF_LIFE, log=True)} if ema else None
    return keys if keys["schedule.name"] == "cosine" else {**keys, "schedule.final_lr_ratio": None}


def first_points() -> list[dict[str, Any]]:
    """A stratified lambda grid per teacher, tried before the sampler decides anything."""
    points = []
    for weight, half_life in zip(GRID["lambda_rate"], GRID["ema_half_life"], strict=True):
        point = {"lambda_rate": weight, "schedule": "cosine", "warmup_epochs": 2.0}
        points += [{"teacher": "stopgrad", **point}, {"teacher": "ema", **point, "ema_half_life": half_life}]
    return points


def label(point: dict[str, Any], horizon_steps: int) -> str:
    """A short label; under ema with the decay tau that the half-life stands for."""
    text = f"{point['teacher']} λ={point['lambda_rate']:.3g} {point['schedule']} warm-up {point['warmup_epochs']:.3g}"
    if point["teacher"] == "ema":
        tau = 2 ** (-1 / (point["ema_half_life"] * horizon_steps))
        text += f" half-life {point['ema_half_life']:.3g} (τ={tau:.4g})"
    return text
