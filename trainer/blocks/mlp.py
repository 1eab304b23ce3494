"""Two linear layers with a GELU between them, as behind every attention of a vision transformer."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """Of (..., d) tokens, the same shape, through ``hidden`` channels."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.act, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))
