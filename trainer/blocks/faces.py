"""What a method may expect of an exchangeable part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from trainer.config import AGGREGATORS, ENCODERS, EncoderConfig
from trainer.config.parts import PREDICTORS, implementation


class Encoder(nn.Module, ABC):
    """Images to tokens; pooling them to a code is the method's.

    Attributes:
        features: width of a token.
    """

    features: int

    @abstractmethod
    def tokens(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, n, ``features``) tokens."""


class Aggregator(nn.Module, ABC):
    """A sequence of codes and the actions between them to one vector.

    Attributes:
        width: of the aggregate.
    """

    width: int

    @abstractmethod
    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Codes (B, M, D) and the embedded actions between them (B, M-1, E) to (B, ``width``); any M from 1 on."""

    @property
    def no_decay(self) -> tuple[nn.Parameter, ...]:
        """Parameters of two or more dimensions that are vectors all the same, and not decayed."""
        return ()

    def health(self) -> dict[str, Tensor]:
        """Detached scalars worth recording, by name."""
        return {}


def make_encoder(config: EncoderConfig, channels: int) -> Encoder:
    """The configured encoder of images with ``channels`` channels."""
    return implementation(ENCODERS[config.name].implementation)(config, channels)


def make_aggregator(model: Any) -> Aggregator:
    """The aggregator that a family's model settings name."""
    return implementation(AGGREGATORS[model.aggregator].implementation)(model)


def make_predictor(model: Any, aggregate: int, action: int, outputs: int) -> nn.Module:
    """The predictor that a family's model settings name: (B, aggregate + action) rows to (B, outputs) codes.

    Args:
        action: width of the embedded action, 0 for a predictor that is not told.
    """
    return implementation(PREDICTORS[model.predictor])(model, aggregate, action, outputs)
