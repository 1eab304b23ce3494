"""Settings that somebody may try, drawn from the types of the configuration, around small runs of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from trainer import families, presets
from trainer.config import AGGREGATORS, ENCODERS, RunConfig
from trainer.config.parts import PREDICTORS
from trainer.errors import UsageError

NAMES = {"model.encoder.name": ENCODERS, "model.aggregator": AGGREGATORS, "model.predictor": PREDICTORS}
NUMBERS: dict[str, list[Any]] = {
    "batch_size": [5, 7, 8], "lr": [1e-4, 0.05], "clip_norm": [None, 1e-3], "horizon_epochs": [3, 5],
    "warmup_epochs": [1, 1.5], "observed_views": [1, 2, 4], "draws_per_epoch": [2], "canvas": [8, 16, 21],
    "content": [4, 12], "scale_range": [[0.5, 1.5]], "angle_steps": [4, 12], "segments": [2, 4, 5], "checks": [2],
    "capacity": [5], "width": [4, 8, 12], "patch": [2, 4], "depth": [1, 2], "heads": [1, 2, 4], "layers": [2],
    "ratio": [0.5, 1, 2], "blocks": [2, 3], "action_dim": [2, 4], "predictor_hidden": [0, 1], "levels": [2, 3],
    "level_weights": [[1, 0.5], [0, 1]], "target_scale": [[0.01, 0.01], [0.5, 1]], "aspect": [[1, 1]],
    "crop_scale": [[1, 1]], "views": [2], "locals": [{"count": 1, "side": 8}], "slices": [4], "rows": [1, 64],
    "decay": [0.5, 0.9], "strength": [10.0, 1e6], "samples": [2, 8], "quirks": [["no_half"]], "weight": [0.1],
    "lr_scale": [[1, 0.5, 2]], "warm_epochs": [1], "drop_path": [0.5], "layer_scale": [1e-3], "dropout": [0.5],
}  # fmt: skip
"""Values of numbers by the last part of their key; others that have none here stay as they are."""
LENGTH = [
    "data.sizes=[40,20,20]", "optim.batch_size=10", "schedule.horizon_epochs=2", "schedule.warmup_epochs=0", "epochs=2",
]  # fmt: skip
SHARES = {"data": 4, "model": 4, "objective": 5, "optim": 1, "schedule": 1, "eval": 1}
"""How often a part of the configuration is changed."""
SMALL = [*LENGTH, "eval.probe_epochs=[]", "model.encoder.width=4", "model.action_dim=8", "model.layers=1"]
MLP = [*SMALL, "model.predictor_hidden=16"]
HIDDEN = [
    *LENGTH, "eval.live_every=1", "model.encoder.width=16", "model.encoder.vit.heads=2",
    "model.predictor={width: 8, depth: 1, heads: 1}",
]  # fmt: skip
AROUND: dict[str, tuple[str, list[str]]] = {
    "plain": ("digits", MLP),
    "ema": ("digits", [*MLP, "objective.teacher=ema", "data.transform=affine"]),
    "patches": ("digits", [*MLP, "model.encoder={name: vit, width: 16, vit: {depth: 2}}"]),
    "white box": ("digits", [*SMALL, "model.aggregator=crate", "model.predictor=crate", "model.predictor_hidden=null"]),
    "tost": ("digits", [*MLP, "model.aggregator=tost"]),
    "stream": (
        "digits",
        [
            *MLP, "data.stream={kind: classes, segments: 2, replay: {capacity: 8}}", "objective.weights.rate=0.1",
            "objective.consolidate={kind: ewc, samples: 4}",
        ],
    ),
    "local encoder": ("digits", [*MLP, "objective.local={stage: encoder}"]),
    "local aggregator": ("digits", [*MLP, "objective.local={stage: aggregator}"]),
    "solids": ("mini3d_rot", [*MLP, "data.draws_per_epoch=1"]),
    "hidden": ("h_jepa_digits", HIDDEN),
    "levels": ("h_jepa_digits", [*HIDDEN, "model.levels=2", "objective.weights.rate=0.1"]),
}  # fmt: skip


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)


def leaves(kind: type[BaseModel], prefix: str = "") -> dict[str, list[Any]]:
    """Values to try, by key."""
    found: dict[str, list[Any]] = {}
    for name, field in kind.model_fields.items():
        key, within = prefix + name, list(parts(field.annotation))
        inner = next((part for part in within if isinstance(part, type) and issubclass(part, BaseModel)), None)
        absent = [None] if type(None) in within else []
        if name in NUMBERS:
            found[key] = absent + NUMBERS[name]
        elif inner is not None and tuple not in map(get_origin, within):
            found |= leaves(inner, f"{key}.") | ({key: [None, {}]} if absent else {})
        elif key in NAMES:
            found[key] = list(NAMES[key])
        elif literals := [part for part in within if get_origin(part) is Literal]:
            found[key] = absent + [value for part in literals for value in get_args(part)]
        elif bool in within:
            found[key] = [False, True]
        elif float in within and key.startswith("objective."):
            found[key] = [*absent, 0.0, 0.1, 1.0]
    return found


def drawn(name: str, seed: int, changes: int = 5) -> tuple[RunConfig, list[str]]:
    """A configuration near ``AROUND[name]``, and its changes; what is refused on the way says so in one line."""
    preset, words = AROUND[name]
    random, changed = Random(f"{name} {seed}"), {}
    config = presets.load(preset, words, {"runtime.across_commits": True})
    values = leaves(families.load(config.family).Config)
    for _ in range(60):
        part = random.choices([*SHARES], SHARES.values())[0]
        if not (left := [key for key in values if key.startswith(f"{part}.") and key not in changed]):
            continue
        key = random.choice(left)
        word = f"{key}={json.dumps(random.choice(values[key]))}"
        try:
            tried = presets.load(preset, [*words, *changed.values(), word], {"runtime.across_commits": True})
        except UsageError as refused:
            assert "\n" not in str(refused), refused
            continue
        if tried != config:
            config, changed[key] = tried, word
        if len(changed) == changes:
            break
    return config, [*changed.values()]
