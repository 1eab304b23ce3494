"""Small configurations and batches that several tests share."""

from __future__ import annotations

import torch

from trainer import presets
from trainer.config import RunConfig
from trainer.data.views import Views
from trainer.families import seq_jepa
from trainer.families.seq_jepa.method import SeqJEPA

SMALL = ["model.encoder.width=4", "model.action_dim=8", "model.predictor_hidden=32", "model.layers=2"]
PROBED = [*SMALL, "eval.probe_epochs=[1]"]


def config(*overrides: str, **settings: object) -> RunConfig:
    """The digits preset with a small model."""
    return presets.load("digits", [*PROBED, *overrides], {"runtime.across_commits": True, **settings})


def views(run: RunConfig, images, rank: int = 0, world: int = 1) -> Views:
    return seq_jepa.source(run, images, torch.float64 if run.precision == "fp64" else torch.float32, rank, world)


def whole(fixed) -> dict:
    """All fixed sequences of a split as one batch."""
    batches = list(fixed.batches(10_000))
    joined = {
        name: torch.cat([b[name] for b in batches]) for name in ("actions", "labels", "index", "poses", "factors")
    }
    return joined | {
        name: [torch.cat(views) for views in zip(*(b[name] for b in batches), strict=True)]
        for name in ("observed", "target")
    }


def method(run: RunConfig, actions: int = 2) -> SeqJEPA:
    torch.manual_seed(run.seed)
    built = SeqJEPA(run, 1, actions)
    return built.double() if run.precision == "fp64" else built
