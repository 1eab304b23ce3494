"""CRATE and CRATE-alpha as aggregators: white-box blocks over [AGG] and the view tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.blocks.faces import Aggregator
from trainer.blocks.tokens import Inner, time_embedding, view_tokens
from trainer.blocks.white_box import WhiteBoxBlock, crate_alpha_block, crate_block
from trainer.config.aggregators import AggregatorNode


class WhiteBox(Aggregator):
    """[AGG] and the view tokens through white-box blocks; [AGG] leaves through a layer-norm.

    Vanilla CRATE ends in a non-negative sparse code. The norm stands between it and what reads the aggregate, and
    sparsity is measured before it.

    Args:
        model: settings with ``token_width``, ``condition``, ``layers``, ``heads``, ``dropout`` and
            ``time_embedding``.
        settings: the aggregator's own.
        block: makes a block of a width and a number of heads, of the other settings.
    """

    def __init__(self, model: Any, settings: AggregatorNode, block: Callable[..., WhiteBoxBlock]):
        super().__init__()
        self.width = model.token_width
        self.conditioned = model.condition in ("both", "aggregator")
        self.inner = Inner(model, settings)
        self.token = nn.Parameter(torch.zeros(1, 1, self.inner.width))
        chosen = settings.model_dump(exclude={"expand"}, exclude_none=True) | {"dropout": model.dropout}
        self.layers = nn.ModuleList(block(self.inner.width, model.heads, **chosen) for _ in range(model.layers))
        self.time = time_embedding(model, model.token_width)
        self._zeros: Tensor | None = None

    @property
    def no_decay(self) -> tuple[nn.Parameter, ...]:
        return (self.token,)

    def health(self) -> dict[str, Tensor]:
        """``code_zeros``: share of exact zeros in the last code of [AGG]."""
        gain = self.inner.norm.weight.detach().square().mean().sqrt()
        return {"last_norm_gain": gain, **({} if self._zeros is None else {"code_zeros": self._zeros})}

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Codes (B, M, D) and the embedded actions between them (B, M-1, E) to the aggregate (B, T)."""
        x = self._tokens(z, actions)
        *layers, last = self.layers
        for layer in layers:
            x, _ = layer(x)
        # nothing reads the other tokens after the last layer
        x, code = last(x, 1)
        # counted, not averaged in the type of the code: half precision cannot count beyond 256
        self._zeros = (code.detach() == 0).to(self.token.dtype).mean()
        return self.inner.leave(x[:, 0])

    def _tokens(self, z: Tensor, actions: Tensor) -> Tensor:
        tokens = self.inner.into(view_tokens(z, actions, self.conditioned, self.time))
        return torch.cat([self.token.expand(len(z), -1, -1).to(tokens.dtype), tokens], dim=1)


class Crate(WhiteBox):
    """aggregator=crate; settings ``model.crate``."""

    def __init__(self, model: Any):
        super().__init__(model, model.crate, crate_block)


class CrateAlpha(WhiteBox):
    """aggregator=crate_alpha; settings ``model.crate_alpha``."""

    def __init__(self, model: Any):
        super().__init__(model, model.crate_alpha, crate_alpha_block)
