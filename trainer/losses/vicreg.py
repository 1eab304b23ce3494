"""Variance and covariance terms of VICReg (Bardes et al., arXiv 2105.04906, equations 1 and 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer import world
from trainer.config import VicRegConfig
from trainer.losses.prediction import wide
from trainer.losses.term import Regularising, Term


class VicReg(Regularising):
    """variance x mean_j max(0, 1 - std_j) + covariance x sum_{i != j} C_ij^2 / d, over the rows of all workers."""

    config: VicRegConfig

    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """Of (n, d) local rows."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = world.gather_rows(wide(rows))
            n, d = rows.shape
            rows = rows - rows.mean(0)
            covariance = rows.T @ rows / (n - 1)
            variances = covariance.diagonal()
            hinge = torch.relu(1 - (variances + 1e-4).sqrt()).mean()
            off_diagonal = (covariance.square().sum() - variances.square().sum()) / d
            return Term(self.config.variance * hinge + self.config.covariance * off_diagonal)
