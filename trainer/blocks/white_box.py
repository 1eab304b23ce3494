"""Blocks of CRATE and CRATE-alpha: compress tokens in subspaces, then code them sparsely."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.blocks.ista import ISTA, OvercompleteISTA
from trainer.blocks.mssa import MSSA, Form


class Opened(NamedTuple):
    """A layer at work.

    Attributes:
        read, moved: (B, N, d) all tokens before and after the attention, under the norm that its heads read through.
        directions: (heads, p, d) rows that span each head's subspace.
        code: (B, n, atoms) raw sparse codes of the tokens that were asked for.
    """

    read: Tensor
    moved: Tensor
    directions: Tensor
    code: Tensor


class WhiteBoxBlock(nn.Module):
    """x <- compress(x), then sparse coding of LN(x).

    ``form=code`` compresses by x + MSSA(LN x); ``form=paper`` by (1 - k) x + k MSSA(LN x), the gradient step on the
    coding rate inside the subspaces that the paper derives.

    Attributes:
        attention, coding: the two parts; ``coding.code`` gives the sparse code.
        residual: whether the coded token is added to the stream (CRATE-alpha) or replaces it (CRATE).
    """

    def __init__(
        self, width: int, attention: MSSA, coding: ISTA | OvercompleteISTA, *,
        residual: bool, compression: float = 0.5, scale: float | None = None, eps: float = 1e-5,
    ):  # fmt: skip
        """compression: k of the paper's form. scale: start of a learned factor per channel on both branches
        (LayerScale), None for none; only of a residual block."""
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps), attention
        self.norm2, self.coding = nn.LayerNorm(width, eps), coding
        self.residual, self.compression = residual, compression
        self.scale1 = nn.Parameter(torch.full((width,), scale)) if scale is not None else None
        self.scale2 = nn.Parameter(torch.full((width,), scale)) if scale is not None else None

    def compress(self, x: Tensor, first: int | None = None) -> Tensor:
        """The first half: tokens (B, N, d) after attention, or only the first ones of them."""
        moved = self.attention(self.norm1(x), first)
        if self.scale1 is not None:
            moved = self.scale1 * moved
        if self.attention.form == "paper":
            return (1 - self.compression) * x[:, :first] + self.compression * moved
        return x[:, :first] + moved

    def forward(self, x: Tensor, first: int | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, d), or only the first ones of them, and their raw sparse codes (B, N, atoms)."""
        x = self.compress(x, first)
        code = self.coding.code(self.norm2(x))
        coded = self.coding.read(code)
        if not self.residual:
            return coded, code
        return x + (coded if self.scale2 is None else self.scale2 * coded), code

    def opened(self, x: Tensor, first: int | None = None) -> Opened:
        """What :meth:`forward` does to the same tokens, step by step."""
        moved = self.compress(x)
        code = self.coding.code(self.norm2(moved[:, :first]))
        return Opened(self.norm1(x), self.norm1(moved), self.attention.subspaces(), code)


def crate_block(
    width: int, heads: int, *, step: float = 0.1, threshold: float = 0.1, form: Form = "code",
    compression: float = 0.5, dropout: float = 0.0,
) -> WhiteBoxBlock:  # fmt: skip
    """CRATE: square dictionary, one step, no residual around the coding."""
    attention = MSSA(width, heads, form=form, dropout=dropout)
    return WhiteBoxBlock(width, attention, ISTA(width, step, threshold), residual=False, compression=compression)


def crate_alpha_block(
    width: int, heads: int, *, ratio: float = 4, step: float = 0.1, threshold: float = 0.1, form: Form = "code",
    compression: float = 0.5, scale: float | None = None, dropout: float = 0.0,
) -> WhiteBoxBlock:  # fmt: skip
    """CRATE-alpha: overcomplete dictionary, two steps, a read-out of its own, and the residual restored."""
    attention = MSSA(width, heads, form=form, bias=False, dropout=dropout)
    coding = OvercompleteISTA(width, ratio, step, threshold)
    return WhiteBoxBlock(width, attention, coding, residual=True, compression=compression, scale=scale, eps=1e-6)
