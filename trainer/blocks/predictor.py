"""Predictors h: the aggregate and the embedded action to the predicted code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.white_box import crate_block
from trainer.config.aggregators import CratePredictorConfig


def mlp(model: Any, aggregate: int, action: int, outputs: int) -> nn.Sequential:
    """predictor=mlp: the paper's, ``model.predictor_hidden`` wide; see :func:`trainer.blocks.faces.make_predictor`."""
    inputs, hidden = aggregate + action, model.predictor_hidden
    if hidden == 0:
        return nn.Sequential(nn.Linear(inputs, outputs), GlobalBatchNorm(outputs))
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), GlobalBatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class CratePredictor(nn.Module):
    """predictor=crate; settings ``model.predictor_crate``: the aggregate and the mapped action are two tokens of CRATE
    blocks, and the code is read from the aggregate's. Without an action it is the only token."""

    def __init__(self, model: Any, aggregate: int, action: int, outputs: int):
        super().__init__()
        settings: CratePredictorConfig = model.predictor_crate
        chosen = settings.model_dump(exclude={"layers", "heads"}, exclude_none=True)
        self.aggregate = aggregate
        self.action = nn.Linear(action, aggregate) if action else None
        self.layers = nn.ModuleList(
            crate_block(aggregate, settings.heads, dropout=model.dropout, **chosen) for _ in range(settings.layers)
        )
        self.norm, self.out = nn.LayerNorm(aggregate), nn.Linear(aggregate, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, T + E) rows [aggregate; action] to predicted codes (B, D)."""
        x = rows[:, None, : self.aggregate]
        if self.action is not None:
            moved = self.action(rows[:, None, self.aggregate :])
            x = torch.cat([x.to(moved.dtype), moved], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x, _ = layer(x)
        return self.out(self.norm(last(x, 1)[0][:, 0]))
