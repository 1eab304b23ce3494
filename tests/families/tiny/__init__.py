"""A family that shares nothing with seq-JEPA but the loop: single images in an order of its own, two loss terms, no
actions.

A code is predicted from a noisy copy of its image, at two levels of noise; a moving centre is subtracted from the
goals.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainer.config import EncoderConfig, RateConfig, RunConfig
from trainer.config.node import Node, NonNegative, Positive


class Model(Node):
    encoder: EncoderConfig = EncoderConfig()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    lr_scale: Positive = 1.0
    """Of the predictor, over the encoder's."""
    clip_norm: Positive | None = None
    """Of the predictor's gradient alone."""


class Weights(Node):
    near: Positive = 1.0
    far: NonNegative = 0.5
    rate: NonNegative = 0.1


class Objective(Node):
    rate: RateConfig = RateConfig()
    weights: Weights = Weights()


class Config(RunConfig):
    model: Model = Model()
    objective: Objective = Objective()


LEGEND = "near: loss of the lower noise"
COLUMNS = (("linacc", "linacc/code", "4.1f"),)


def headline(config):
    return {"score": "linacc/code@1", "rank": "rank_pr/code@1"}


def source(config, images, dtype, rank=0, workers=1):
    from .learning import Images

    return Images(config, images, dtype, rank, workers)


def make(config, source):
    from .learning import Tiny

    return Tiny(config, source.channels)


def probes(config, images, source, method, device):
    from .learning import TinyProbes

    return TinyProbes(config, images, source)


def check_evaluation(config, views, subspace):
    from trainer.errors import UsageError

    if subspace:
        raise UsageError("--subspace: nothing is swept in this family; leave it out")


def tables(metrics, config):
    from rich.table import Table

    table = Table("metric", "value")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.3f}")
    return [table]
