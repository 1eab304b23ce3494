"""The aggregator g: a post-norm transformer that reads the views' tokens into one [AGG] token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.blocks.faces import Aggregator
from trainer.blocks.tokens import time_embedding, view_tokens


class Transformer(Aggregator):
    """Post-norm transformer over [AGG] and the view tokens, and one more layer-norm (paper A.1).

    No positional encoding unless ``time_embedding``: order enters through the actions and the empty last slot. Without
    action conditioning the tokens are the bare codes, and the order of views cannot matter.

    Args:
        model: settings with ``token_width``, ``condition``, ``layers``, ``heads``, ``ffn_ratio``, ``dropout`` and
            ``time_embedding``.
    """

    def __init__(self, model: Any):
        super().__init__()
        width = model.token_width
        self.conditioned = model.condition in ("both", "aggregator")
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, model.heads, int(width * model.ffn_ratio), model.dropout, batch_first=True
            )
            for _ in range(model.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.width = width
        self.time = time_embedding(model, width)

    @property
    def no_decay(self) -> tuple[nn.Parameter, ...]:
        return (self.token,)

    def health(self) -> dict[str, Tensor]:
        return {"last_norm_gain": self.norm.weight.detach().square().mean().sqrt()}

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Codes (B, M, D) and the embedded actions between them (B, M-1, E) to the aggregate (B, T)."""
        tokens = view_tokens(z, actions, self.conditioned, self.time)
        x = torch.cat([self.token.expand(len(z), -1, -1).to(tokens.dtype), tokens], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        return self.norm(_first_token(last, x))


def _first_token(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """``layer(x)[:, 0]`` without computing the other tokens, which nothing reads after the last layer."""
    first = x[:, :1]
    first = layer.norm1(first + layer.dropout1(layer.self_attn(first, x, x, need_weights=False)[0]))
    hidden = layer.linear2(layer.dropout(layer.activation(layer.linear1(first))))
    return layer.norm2(first + layer.dropout2(hidden))[:, 0]
