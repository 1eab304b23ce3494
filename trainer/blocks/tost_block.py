"""ToST's block: token-statistics attention and an MLP, each a scaled residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.blocks.mlp import MLP
from trainer.blocks.tssa import TSSA, State


class TostBlock(nn.Module):
    """x + g1 TSSA(LN x), then x + g2 MLP(LN x), with learned factors g per channel.

    Args:
        scale: at which the factors start.
        positions: of the causal form, see :class:`trainer.blocks.tssa.TSSA`.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, scale: float = 1.0, bias: bool = False, causal: bool = False,
        positions: int | None = None, eps: float = 1e-6, dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention = TSSA(width, heads, bias, causal, positions, dropout=dropout)
        self.mlp = MLP(width, hidden, dropout)
        self.scale1 = nn.Parameter(torch.full((width,), scale))
        self.scale2 = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, N, d) tokens, the same shape."""
        return self._finish(x, self.attention(self.norm1(x)))

    def step(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        """The state after one more token x (B, d), and that token's output; causal blocks only."""
        state, moved = self.attention.step(state, self.norm1(x))
        return state, self._finish(x, moved)

    def _finish(self, x: Tensor, moved: Tensor) -> Tensor:
        x = x + self.scale1 * moved
        return x + self.scale2 * self.mlp(self.norm2(x))
