"""Views as the tokens of an aggregator: code, embedded action to the next view, and optionally when it came."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config.aggregators import AggregatorNode

WAVES = 32


class TimeEmbedding(nn.Module):
    """A linear map of sines and cosines of a view's number: learned, and defined for any number of views."""

    def __init__(self, width: int):
        super().__init__()
        self.map = nn.Linear(WAVES, width, bias=False)
        nn.init.normal_(self.map.weight, std=0.02)
        self.register_buffer("rates", 10_000.0 ** (-torch.arange(WAVES // 2) / (WAVES // 2)), persistent=False)

    def forward(self, count: int, first: int = 0) -> Tensor:
        """(count, width) of views ``first`` and on."""
        angles = torch.arange(first, first + count, device=self.rates.device)[:, None] * self.rates
        return self.map(torch.cat([angles.sin(), angles.cos()], dim=1))


def time_embedding(model: Any, width: int) -> TimeEmbedding | None:
    """The one of a family's model settings, if they want one; ``width`` is that of the tokens."""
    return TimeEmbedding(width) if model.time_embedding else None


def view_tokens(z: Tensor, actions: Tensor, conditioned: bool, time: TimeEmbedding | None = None) -> Tensor:
    """(B, M, T) tokens of codes (B, M, D) and the embedded actions between them (B, M-1, E); the last slot is empty."""
    # pad appends the last view's empty slot
    tokens = torch.cat([z, F.pad(actions, (0, 0, 0, 1))], dim=2) if conditioned else z
    return tokens if time is None else tokens + time(tokens.shape[1]).to(tokens.dtype)


class Inner(nn.Module):
    """Maps between the width of the tokens and another one inside, if one is set, and the last norm.

    Args:
        settings: of the aggregator.

    Attributes:
        width: inside.
    """

    def __init__(self, model: Any, settings: AggregatorNode):
        super().__init__()
        tokens, mapped = model.token_width, settings.expand is not None
        self.width = settings.width(tokens, model.heads)
        self.into = nn.Linear(tokens, self.width) if mapped else nn.Identity()
        self.back = nn.Linear(self.width, tokens) if mapped else nn.Identity()
        self.norm = nn.LayerNorm(tokens)

    def leave(self, x: Tensor) -> Tensor:
        """(B, width) to the aggregate (B, tokens)."""
        return self.norm(self.back(x))
