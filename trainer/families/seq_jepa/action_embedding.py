"""Embedding of actions: linear without bias, then batch-norm without gain (paper A.1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.blocks.norm import GlobalBatchNorm


class ActionEmbedding(nn.Module):
    """(B, M, A) actions to (B, M, E), the last one for the predictor and the others for the aggregator.

    Args:
        statistics: ``true_actions``: one batch-norm pass over the B M true actions; the empty slot of the last token is
            added after it, so zeros never dilute the statistics. ``upstream``: what the paper's code does, one pass
            over the aggregator's B M rows, empty slot included, and another over the predictor's B rows: the same
            action then has two embeddings.
        empty_is_zero: what upstream's empty slot holds before the batch-norm: zeros where actions are differences of
            parameters, the last action where relative actions are given.
    """

    def __init__(self, inputs: int, outputs: int, statistics: Literal["true_actions", "upstream"], empty_is_zero: bool):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = GlobalBatchNorm(outputs, affine=False)
        self.statistics, self.empty_is_zero = statistics, empty_is_zero

    def forward(self, actions: Tensor) -> Tensor:
        if self.statistics == "true_actions":
            return self._rows(actions)
        last = self._rows(actions[:, -1:])
        slots = (
            torch.cat([actions[:, :-1], torch.zeros_like(actions[:, -1:])], dim=1) if self.empty_is_zero else actions
        )
        return torch.cat([self._rows(slots)[:, :-1], last], dim=1)

    def _rows(self, actions: Tensor) -> Tensor:
        return self.norm(self.linear(actions.flatten(0, 1))).view(*actions.shape[:2], -1)
