"""Multi-head subspace self-attention (Yu et al., CRATE, arXiv 2306.01129): one projection is query, key and value."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Form = Literal["code", "paper"]


class MSSA(nn.Module):
    """Each head projects the tokens on a subspace and moves every token towards those that it resembles there.

    ``code``: what the authors' code computes: softmax(w w' / sqrt(p)) w of each head's projection w = U' x, and a free
    linear layer behind the heads. ``paper``: scores without the scale, and the way back is the projection transposed,
    so that a head reads and writes the same subspace.

    Args:
        width: d of the tokens.
        head_width: p of each subspace; default: width / heads.
        bias: of the free linear layer (CRATE has one, CRATE-alpha none).
        project: False leaves the free linear layer out, as the authors' code does with a single head of full width.

    Attributes:
        qkv: (heads p, d); the rows of a head span its subspace U'.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int | None = None,
        form: Form = "code",
        bias: bool = True,
        project: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        inner = heads * (head_width or width // heads)
        self.heads, self.form = heads, form
        self.qkv = nn.Linear(width, inner, bias=False)
        free = form == "code" and project
        self.out = nn.Linear(inner, width, bias=bias) if free else None
        self.dropout = nn.Dropout(dropout)

    def subspaces(self) -> Tensor:
        """(heads, p, d): a subspace's directions are rows."""
        return self.qkv.weight.view(self.heads, -1, self.qkv.weight.shape[1])

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """Of (B, N, d) tokens, the same shape. The softmax is in fp32 whatever the tokens are.

        Args:
            first: of so many tokens only; all of them are attended to.
        """
        w = self.qkv(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        scale = 1.0 if self.form == "paper" else None
        y = F.scaled_dot_product_attention(w[:, :, :first], w, w, scale=scale).transpose(1, 2).flatten(2)
        if self.form == "paper":
            y = F.linear(y, self.qkv.weight.t())
        elif self.out is not None:
            y = self.out(y)
        return self.dropout(y)
