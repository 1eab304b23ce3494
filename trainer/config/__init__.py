"""The typed configuration of one run: every field with its unit, default and rule.

A configuration is built by ``trainer.presets.load`` from a preset and overrides and is then
immutable. Importing this package costs neither torch nor ray.

``family``, ``data``, ``model``, ``objective``, ``optim``, ``schedule`` and ``precision`` are *scientific*: they decide
what is learnt and enter the arm's identity (``trainer.record.identity``). ``seed``, ``epochs``, ``eval``, ``gates`` and
``runtime`` do not. What ``model``, ``objective`` and ``eval`` hold is the family's (``trainer.families``).
"""

from trainer.config.data import AugmentConfig, DataConfig, GlimpseConfig
from trainer.config.evaluation import EvalConfig, GateConfig, RuntimeConfig
from trainer.config.losses import REGULARISERS, RateConfig, SharpenConfig, SigRegConfig, VicRegConfig
from trainer.config.mixture import members
from trainer.config.optim import OptimConfig, ScheduleConfig
from trainer.config.parts import AGGREGATORS, ENCODERS, EncoderConfig
from trainer.config.run import RunConfig
from trainer.config.sets import SETS, split_sizes

__all__ = [
    "AGGREGATORS",
    "ENCODERS",
    "REGULARISERS",
    "AugmentConfig",
    "DataConfig",
    "EncoderConfig",
    "EvalConfig",
    "GateConfig",
    "GlimpseConfig",
    "OptimConfig",
    "RateConfig",
    "RunConfig",
    "RuntimeConfig",
    "SETS",
    "ScheduleConfig",
    "SharpenConfig",
    "SigRegConfig",
    "VicRegConfig",
    "members",
    "split_sizes",
]
