"""ToST as an aggregator: token-statistics attention over the views, then a read-out that sees first moments.

An [AGG] token among the views would learn nothing of them (:mod:`trainer.blocks.tssa`): a token of zeros stays one. So
the views pass through the blocks alone, and are read out by class attention or by pooling.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.blocks.faces import Aggregator
from trainer.blocks.readout import ClassBlock, MemberPool
from trainer.blocks.tokens import Inner, time_embedding, view_tokens
from trainer.blocks.tost_block import TostBlock
from trainer.blocks.tssa import TSSA
from trainer.config.aggregators import TostConfig


class Tost(Aggregator):
    """aggregator=tost; settings ``model.tost``.

    Args:
        model: settings with ``token_width``, ``condition``, ``layers``, ``heads``, ``ffn_ratio``, ``dropout`` and
            ``time_embedding``.

    Attributes:
        blocks: over the views.
        token, readers: of class attention; ``pool``, ``before``: of pooling, and the norm before it. None if unused.
    """

    def __init__(self, model: Any):
        super().__init__()
        settings: TostConfig = model.tost
        self.settings, self.width = settings, model.token_width
        self.conditioned = model.condition in ("both", "aggregator")
        self.inner = Inner(model, settings)
        width, hidden = self.inner.width, int(self.inner.width * model.ffn_ratio)
        common = {"scale": settings.scale, "dropout": model.dropout}
        self.blocks = nn.ModuleList(
            TostBlock(width, model.heads, hidden, causal=settings.causal, **common) for _ in range(model.layers)
        )
        self.token = self.readers = self.pool = self.before = None
        if settings.readout == "pool":
            self.before, self.pool = nn.LayerNorm(width, 1e-6), MemberPool(width, model.heads, settings.causal)
        else:
            self.token = nn.Parameter(torch.zeros(1, 1, width))
            readers = [ClassBlock(width, model.heads, hidden, **common) for _ in range(settings.class_layers)]
            self.readers = nn.ModuleList(readers)
        self.time = time_embedding(model, model.token_width)

    @property
    def no_decay(self) -> tuple[nn.Parameter, ...]:
        temperatures = tuple(part.temperature for part in self.modules() if isinstance(part, TSSA))
        return temperatures if self.token is None else (self.token, *temperatures)

    def health(self) -> dict[str, Tensor]:
        return {"last_norm_gain": self.inner.norm.weight.detach().square().mean().sqrt()}

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Codes (B, M, D) and the embedded actions between them (B, M-1, E) to the aggregate (B, T)."""
        x = self.inner.into(view_tokens(z, actions, self.conditioned, self.time))
        for block in self.blocks:
            x = block(x)
        if self.pool is not None:
            return self.inner.leave(self.pool(self.before(x)))
        x = torch.cat([self.token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        *readers, last = self.readers
        for reader in readers:
            x = reader(x)
        return self.inner.leave(last.first(x))
