"""The typed configuration of one run: every field with its unit, default and rule.

A configuration is built by ``trainer.presets.load`` from a preset and overrides and is then
immutable. Importing this package costs neither torch nor ray.

``data``, ``model``, ``objective``, ``optim``, ``schedule`` and ``precision`` are *scientific*: they decide what is
learnt and enter the arm's identity (``trainer.identity``). ``seed``, ``epochs``, ``eval``, ``gates`` and ``runtime``
do not.
"""

from trainer.config.data import AugmentConfig, DataConfig, GlimpseConfig
from trainer.config.evaluation import EvalConfig, GateConfig, RuntimeConfig, SubspaceConfig
from trainer.config.model import EncoderConfig, ModelConfig
from trainer.config.objective import (
    EmaConfig,
    ObjectiveConfig,
    RateConfig,
    SharpenConfig,
    SigRegConfig,
    VicRegConfig,
    Weights,
)
from trainer.config.optim import OptimConfig, ScheduleConfig
from trainer.config.run import RunConfig
from trainer.config.sets import SETS, split_sizes

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "EmaConfig",
    "EncoderConfig",
    "EvalConfig",
    "GateConfig",
    "GlimpseConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "RateConfig",
    "RunConfig",
    "RuntimeConfig",
    "SETS",
    "ScheduleConfig",
    "SharpenConfig",
    "SigRegConfig",
    "SubspaceConfig",
    "VicRegConfig",
    "Weights",
    "split_sizes",
]
