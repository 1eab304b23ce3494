"""Sparse coding by proximal steps: CRATE's one step (arXiv 2306.01129) and CRATE-alpha's two (arXiv 2405.20299)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ISTA(nn.Module):
    """One non-negative proximal gradient step, from the token itself, on 1/2 |x - D z|^2 + threshold |z|_1.

    The dictionary is square, so the code replaces the token: relu(x + s (D'x - D'D x) - s threshold).

    Attributes:
        weight: D (d, d), its columns are the atoms.
    """

    def __init__(self, width: int, step: float = 0.1, threshold: float = 0.1):
        super().__init__()
        self.step, self.threshold = step, threshold
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, width)))

    def code(self, x: Tensor) -> Tensor:
        """Codes of (..., d) tokens, the same shape, all entries at least 0."""
        # two thin products instead of D'D: cheaper as long as there are fewer tokens than channels
        error = F.linear(x, self.weight.t()) - F.linear(F.linear(x, self.weight), self.weight.t())
        return torch.relu(x + self.step * error - self.step * self.threshold)

    def read(self, code: Tensor) -> Tensor:
        """The code itself."""
        return code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(x)


class OvercompleteISTA(nn.Module):
    """Two proximal steps from zero in ``ratio`` times as many atoms as channels, read out by a dictionary of its own.

    Attributes:
        dictionary: D (d, ratio d), in which the token is coded.
        readout: (d, ratio d), from whose atoms the output is made.
    """

    def __init__(self, width: int, ratio: float = 4, step: float = 0.1, threshold: float = 0.1):
        super().__init__()
        self.step, self.threshold = step, threshold
        atoms = int(width * ratio)
        self.dictionary = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, atoms)))
        self.readout = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(width, atoms)))

    def code(self, x: Tensor) -> Tensor:
        """Codes (..., ratio d) of (..., d) tokens, all entries at least 0."""
        shift = self.step * self.threshold
        first = torch.relu(self.step * F.linear(x, self.dictionary.t()) - shift)
        error = F.linear(first, self.dictionary) - x
        return torch.relu(first - self.step * F.linear(error, self.dictionary.t()) - shift)

    def read(self, code: Tensor) -> Tensor:
        """Tokens (..., d) of codes."""
        return F.linear(code, self.readout)

    def forward(self, x: Tensor) -> Tensor:
        """Of (..., d) tokens, the same shape."""
        return self.read(self.code(x))
