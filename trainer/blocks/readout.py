"""Read-outs that see first moments of tokens: class attention (Touvron et al., CaiT, arXiv 2103.17239), as in ToST, and
pooling by membership."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.blocks.mlp import MLP
from trainer.blocks.tssa import EPS, TSSA


class ClassAttention(nn.Module):
    """Token 0 attends to all tokens, itself among them; the others ask nothing."""

    def __init__(self, width: int, heads: int, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) tokens to what token 0 gathers of them, (B, 1, d)."""
        query, key, value = self.qkv.weight.chunk(3)
        bias = self.qkv.bias.chunk(3) if self.qkv.bias is not None else (None, None, None)
        q, k, v = (
            F.linear(rows, weight, b).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for rows, weight, b in ((x[:, :1], query, bias[0]), (x, key, bias[1]), (x, value, bias[2]))
        )
        gathered = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.dropout(self.out(gathered))


class ClassBlock(nn.Module):
    """Class attention and an MLP of token 0, each scaled per channel.

    As in ToST's published models the second residual starts from the *normalised* stream, so that the other tokens
    leave as 2 LN(x + g LN(x)); the next block's norm takes that factor out again.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, scale: float = 1.0, bias: bool = True, eps: float = 1e-6,
        dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention, self.mlp = ClassAttention(width, heads, bias, dropout), MLP(width, hidden, dropout)
        self.scale1 = nn.Parameter(torch.full((width,), scale))
        self.scale2 = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) tokens with the class token first, the same shape."""
        normed = self.norm1(x)
        read = self.attention(normed)
        x = self.norm2(x + self.scale1 * torch.cat([read, normed[:, 1:].to(read.dtype)], dim=1))
        first = x[:, :1] + self.scale2 * self.mlp(x[:, :1])
        return torch.cat([first, 2 * x[:, 1:].to(first.dtype)], dim=1)

    def first(self, x: Tensor) -> Tensor:
        """The class token (B, d) of :meth:`forward`, without computing the others, which nothing reads at the end."""
        return self.finish(x[:, 0], self.attention(self.norm1(x))[:, 0])

    def finish(self, token: Tensor, read: Tensor) -> Tensor:
        """The class token (B, d) from what it was and what it has read."""
        token = self.norm2(token + self.scale1 * read)
        return token + self.scale2 * self.mlp(token)


class Pooled(NamedTuple):
    """Running sums of :class:`MemberPool`: of w^2 and P w (B, h, p), and of P (B, h)."""

    squares: Tensor
    weighted: Tensor
    members: Tensor


class MemberPool(nn.Module):
    """Per head the mean of the tokens' projections, weighted by their membership P, through a linear layer.

    Memberships are TSSA's; unlike its output the mean changes sign with the tokens.
    """

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        # its projection, temperature and output layer; the attention itself is not computed
        self.parts = TSSA(width, heads, causal=causal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) tokens to (B, d)."""
        parts = self.parts
        w = parts.project(x)
        with torch.autocast(x.device.type, enabled=False):
            squares = w.square()
            sums = squares.cumsum(2) if parts.causal else squares.sum(2, keepdim=True)
            members = parts.members(squares, sums)
            mean = (members[:, :, None] @ w)[:, :, 0] / (members.sum(2)[..., None] + EPS)
        return parts.out(mean.flatten(1))

    def begin(self, like: Tensor) -> Pooled:
        """The state before the first token; ``like`` (B, d) tells batch, device and type."""
        return Pooled(*self.parts.begin(like))

    def step(self, state: Pooled, x: Tensor) -> tuple[Pooled, Tensor]:
        """The state after one more token x (B, d), and the mean so far (B, d); causal memberships only."""
        parts = self.parts
        w = parts.project(x[:, None])
        with torch.autocast(x.device.type, enabled=False):
            wide = w.to(state.squares.dtype)
            squares = wide.square()
            sums = state.squares + squares[:, :, 0]
            members = parts.members(squares, sums[:, :, None])
            weighted = state.weighted + members * wide[:, :, 0]
            counted = state.members + members[..., 0]
            mean = weighted / (counted[..., None] + EPS)
        return Pooled(sums, weighted, counted), parts.out(mean.flatten(1).to(w.dtype))
