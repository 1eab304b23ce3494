"""The contrastive loss of SimCLR (Chen et al., arXiv 2002.05709, equation 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import world
from trainer.config.paired import NTXentConfig
from trainer.losses.prediction import wide
from trainer.losses.term import Regularising, Term


class NTXent(Regularising):
    """Cross-entropy of picking an image's other view among all other rows of both views."""

    config: NTXentConfig

    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """Of (V, n, d) local rows, V of 2 or more: the mean over the pairs of the first view with each other."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = F.normalize(wide(rows), dim=-1, eps=1e-12)
            first, *others = (world.gather_rows(view) for view in rows)
            return Term(torch.stack([self._pair(first, other) for other in others]).mean())

    def _pair(self, one: Tensor, other: Tensor) -> Tensor:
        both, n = torch.cat([one, other]), len(one)
        scores = both @ both.T / self.config.temperature
        scores = scores.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=both.device), -torch.inf)
        return F.cross_entropy(scores, torch.arange(2 * n, device=both.device).roll(n))
