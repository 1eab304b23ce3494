"""Token-statistics self-attention (Wu et al., ToST, arXiv 2412.17810): linear in the number of tokens.

A token is only rescaled: per head h and channel, y_n = -P_hn w_n / (1 + s_h), where P_hn is the softmax over heads of
how much of the token lies in the head, and s_h the P-weighted second moment of all tokens. Other tokens therefore
enter through squares alone, and a token of zeros stays one whatever the others are: to read a sequence out, something
with first moments must follow (:mod:`trainer.blocks.readout`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

FLOOR, EPS = 1e-12, 1e-8


def summing(device: torch.device) -> torch.dtype:
    """In which sums over tokens run: of hundreds of them fp32 keeps less than six digits."""
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no double precision


class State(NamedTuple):
    """Running sums of the causal form over the tokens so far: of w^2 and P w^2 (B, h, p), and of P (B, h)."""

    squares: Tensor
    weighted: Tensor
    members: Tensor


class TSSA(nn.Module):
    """Attention by second moments; softmax, norms and sums in fp32 (fp64 if given).

    Args:
        bias: of the projection.
        causal: token n sees tokens up to n, with running sums; :meth:`step` does the same one token at a time.
        positions: causal only: learn an addition to the normalised squares at each of so many positions, as the
            authors' language model does (which their paper does not have); longer sequences are then impossible.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        bias: bool = False,
        causal: bool = False,
        positions: int | None = None,
        out_bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        if positions is not None and not causal:
            raise ValueError(f"positions = {positions} has a meaning only with causal=True; leave it out")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, width, bias=bias)
        self.temperature = nn.Parameter(torch.ones(heads, 1))
        self.position_bias = nn.Parameter(torch.zeros(heads, positions, 1)) if positions is not None else None
        self.out = nn.Linear(width, width, bias=out_bias)
        self.dropout = nn.Dropout(dropout)

    def project(self, x: Tensor) -> Tensor:
        """(B, N, d) tokens to (B, heads, N, p) in fp32 or fp64."""
        w = self.qkv(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return w if w.dtype == torch.float64 else w.float()

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, N, d) tokens, the same shape."""
        w = self.project(x)
        with torch.autocast(x.device.type, enabled=False):
            squares = w.square()
            if self.causal:
                members = self.members(squares, squares.cumsum(2))
                total = members.cumsum(2)[..., None]
                moments = (members[..., None] * squares).cumsum(2) / (total + EPS)
            else:
                members = self.members(squares, squares.sum(2, keepdim=True))
                share = members / (members.sum(2, keepdim=True) + EPS)
                moments = share[:, :, None] @ squares  # (B, h, 1, p)
            y = -w * members[..., None] / (1 + moments)
        return self._out(y)

    def members(self, squares: Tensor, sums: Tensor, first: int = 0) -> Tensor:
        """P (B, h, N): to which head each token belongs, of its squares and the sums over tokens that they are normed
        by.

        Args:
            first: position of the first token.
        """
        if self.causal:
            normed = squares / sums.clamp_min(FLOOR)
        else:
            # normalize() floors the norm, not its square
            normed = squares / sums.clamp_min(FLOOR**2)
        if self.position_bias is not None:
            here = self.position_bias[:, first : first + squares.shape[2]]
            if here.shape[1] < squares.shape[2]:
                raise ValueError(
                    f"{first + squares.shape[2]} tokens: at most {self.position_bias.shape[1]} have a learned position"
                )
            normed = normed + here
        return (normed.sum(3) * self.temperature).softmax(1)

    # --- one token at a time

    def begin(self, like: Tensor) -> State:
        """The state before the first token; ``like`` (B, d) tells batch, device and type."""
        b, width = like.shape
        zeros = torch.zeros(b, self.heads, width // self.heads, dtype=summing(like.device), device=like.device)
        return State(zeros, zeros.clone(), zeros[..., 0].clone())

    def step(self, state: State, x: Tensor, position: int = 0) -> tuple[State, Tensor]:
        """The state after one more token x (B, d), and its output (B, d). Memory does not depend on how many came
        before.

        Args:
            position: of the token, counted from 0; only a learned position reads it.
        """
        w = self.project(x[:, None])
        with torch.autocast(x.device.type, enabled=False):
            wide = w.to(state.squares.dtype)
            squares = wide.square()
            sums = state.squares + squares[:, :, 0]
            members = self.members(squares, sums[:, :, None], position)
            weighted = state.weighted + members * squares[:, :, 0]
            counted = state.members + members[..., 0]
            y = -wide * members[..., None] / (1 + (weighted / (counted[..., None] + EPS))[:, :, None])
        return State(sums, weighted, counted), self._out(y.to(w.dtype))[:, 0]

    def _out(self, y: Tensor) -> Tensor:
        return self.dropout(self.out(y.transpose(1, 2).flatten(2)))
