"""Step 2: how strong a coding rate, under which schedule, and with or without an EMA teacher.

``ema_half_life`` exists only under the ema teacher. It is a fraction of the schedule's steps, because a
fixed decay such as tau = 0.996 (half-life 173 steps) would be slow on a run of 510 steps and fast on 200,000.
"""

from __future__ import annotations

from itertools import product, zip_longest
from random import Random
from typing import Any

TEACHERS = ("stopgrad", "ema")
SCHEDULES = ("cosine", "constant")
LAMBDA = (1e-3, 1.0)
# suggestions go down to here, and those below LAMBDA[0] mean exactly 0: a tenth of the draws, next to the small
# strengths it resembles, where an on/off choice would have spent half of the search on it
ZERO_FROM = 5e-4
WARMUP_EPOCHS = (0.0, 6.0)
HALF_LIFE = (0.002, 0.5)

RANGES = {
    "teacher": ", ".join(TEACHERS),
    "lambda_rate": f"0, or log-uniform {LAMBDA[0]:g} to {LAMBDA[1]:g}",
    "schedule": "cosine, constant",
    "warmup_epochs": f"uniform {WARMUP_EPOCHS[0]:g} to {WARMUP_EPOCHS[1]:g}",
    "ema_half_life": f"log-uniform {HALF_LIFE[0]:g} to {HALF_LIFE[1]:g} of all steps (ema only)",
}

# likeliest strengths first, so that a short search still brackets the optimum for every teacher
GRID_LAMBDA = (0.1, 0.03, 0.3, 0.01, 1.0)
GRID_HALF_LIFE = (0.02, 0.1, 0.005, 0.05, 0.2)
GRID_WARMUP = (0.0, 2.0, 6.0)


def space(trial: Any) -> dict[str, Any]:
    """Suggest one point; returns the parameters by name, only those that mean something."""
    point: dict[str, Any] = {"teacher": trial.suggest_categorical("teacher", TEACHERS)}
    weight = trial.suggest_float("lambda_rate", ZERO_FROM, LAMBDA[1], log=True)
    point["lambda_rate"] = weight if weight >= LAMBDA[0] else 0.0
    point["schedule"] = trial.suggest_categorical("schedule", SCHEDULES)
    point["warmup_epochs"] = trial.suggest_float("warmup_epochs", *WARMUP_EPOCHS)
    if point["teacher"] == "ema":
        point["ema_half_life"] = trial.suggest_float("ema_half_life", *HALF_LIFE, log=True)
    return point


def first_points() -> list[dict[str, Any]]:
    """A stratified lambda grid per teacher, tried before the sampler decides anything."""
    points = []
    for (weight, half_life), teacher in product(zip(GRID_LAMBDA, GRID_HALF_LIFE, strict=True), TEACHERS):
        point = {"teacher": teacher, "lambda_rate": weight, "schedule": "cosine", "warmup_epochs": 2.0}
        points.append({**point, "ema_half_life": half_life} if teacher == "ema" else point)
    return points


def grid_points() -> list[dict[str, Any]]:
    """The full grid, each teacher's part in a fixed random order; they alternate while both last, then the longer goes on.

    Any beginning of it is therefore a fair sample.
    """
    per_teacher = []
    for teacher in TEACHERS:
        half_lives = GRID_HALF_LIFE if teacher == "ema" else (None,)
        points = [
            {"teacher": teacher, "lambda_rate": weight, "schedule": schedule, "warmup_epochs": warmup}
            | ({} if half_life is None else {"ema_half_life": half_life})
            for weight, schedule, warmup, half_life in product((ZERO_FROM, *GRID_LAMBDA), SCHEDULES, GRID_WARMUP, half_lives)
        ]
        Random(0).shuffle(points)
        per_teacher.append(points)
    return [point for turn in zip_longest(*per_teacher) for point in turn if point is not None]


def corners() -> list[dict[str, Any]]:
    """Extreme points of every branch of the space, to check a study's settings against before it starts."""
    points = []
    for teacher, schedule in product(TEACHERS, SCHEDULES):
        point = {"teacher": teacher, "lambda_rate": LAMBDA[1], "schedule": schedule, "warmup_epochs": WARMUP_EPOCHS[1]}
        points.append({**point, "ema_half_life": HALF_LIFE[1]} if teacher == "ema" else point)
    return points


def stratum(number: int) -> dict[str, Any]:
    """What trial ``number`` does not choose: teachers alternate.

    Left to the sampler, most trials would go to the teacher that was ahead early, and the comparison of the two
    would be one of search effort.
    """
    return {"teacher": TEACHERS[number % len(TEACHERS)]}


def overrides(point: dict[str, Any]) -> dict[str, Any]:
    """Configuration keys of a point."""
    keys = {
        "objective.teacher": point["teacher"],
        "objective.weights.rate": point["lambda_rate"],
        "schedule.name": point["schedule"],
        "schedule.warmup_epochs": point["warmup_epochs"],
    }
    # what the preset says of a part that the point does not have must go with it
    keys["objective.ema"] = {"half_life": point["ema_half_life"]} if point["teacher"] == "ema" else None
    if point["schedule"] == "constant":
        keys["schedule.final_lr_ratio"] = None
    return keys


def describe(point: dict[str, Any], horizon_steps: int) -> str:
    """A short label; under ema with the decay tau that the half-life stands for."""
    text = f"{point['teacher']} λ={point['lambda_rate']:.3g} {point['schedule']} warm-up {point['warmup_epochs']:.3g}"
    if point["teacher"] == "ema":
        tau = 2 ** (-1 / (point["ema_half_life"] * horizon_steps))
        text += f" half-life {point['ema_half_life']:.3g} (τ={tau:.4g})"
    return text
