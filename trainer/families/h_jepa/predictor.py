"""The predictor: a narrow transformer that reads what is shown and fills in hidden places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.blocks.stack import Placing, Stack, initialise
from trainer.config.vit import VitConfig
from trainer.families.h_jepa.config import PredictorConfig


class Predictor(nn.Module):
    """Kernel, positions and checkpointing are the encoder's; a query is a learnt vector, its place, and its level.

    Args:
        features: width of a token, in and out.
        whole: also has a query for an image as a whole.
    """

    def __init__(self, config: PredictorConfig, vit: VitConfig, features: int, levels: int, whole: bool):
        super().__init__()
        self.embed = nn.Linear(features, config.width)
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, config.width), std=0.02))
        self.stack = Stack(vit, config.width, config.depth, config.heads, residual=False)
        self.project = nn.Linear(config.width, features)
        initialise(self.embed), initialise(self.project)
        # one level is I-JEPA, which has nothing to tell apart
        self.level = nn.Parameter(0.02 * torch.randn(levels, config.width)) if levels > 1 else None
        self.whole = nn.Parameter(0.02 * torch.randn(1, 1, config.width)) if whole else None

    @property
    def vectors(self) -> list[nn.Parameter]:
        """Parameters of two or more dimensions that are vectors all the same."""
        return [one for one in (self.query, self.level, self.whole) if one is not None]

    def forward(
        self, context: Tensor, at: Placing, queries: Placing, count: int, level: int = 0, whole: bool = False
    ) -> Tensor:
        """Predicted tokens (B, M, n, D) at M x n places, block by block: no block sees what another asks.

        Args:
            context: (B, K, D) shown tokens; ``at`` where they are.
            queries: where to predict, (B, M, n, ...) or (M, n, ...); n is ``count``.
            whole: ask for the image as a whole.
        """
        x = at.to(self.embed(context))
        batch, blocks = len(x), _leading(queries)[-1]
        query = self.whole if whole else self.query
        if self.level is not None and not whole:
            query = query + self.level[level]
        asked = queries.to(query.to(x.dtype).expand(blocks, count, -1)).expand(batch, blocks, count, -1)
        tokens = torch.cat([x[:, None].expand(-1, blocks, -1, -1), asked], 2).flatten(0, 1)
        turned = None
        if at.turned is not None:
            parts = at.turned.expand(batch, *at.turned.shape[-2:])[:, None].expand(-1, blocks, -1, -1)
            asking = queries.turned.expand(batch, blocks, *queries.turned.shape[-2:])
            turned = torch.cat([parts, asking], 2).flatten(0, 1)
        answers = self.stack(tokens, turned)[:, -count:]
        return self.project(answers).view(batch, blocks, count, -1)


def _leading(placing: Placing) -> torch.Size:
    return (placing.added if placing.added is not None else placing.turned).shape[:-2]
