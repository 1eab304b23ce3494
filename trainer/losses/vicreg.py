"""Variance and covariance terms of VICReg (Bardes et al., arXiv 2105.04906, equations 1 and 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer import world
from trainer.config import VicRegConfig


class VicReg(nn.Module):
    """variance x mean_j max(0, 1 - std_j) + covariance x sum_{i != j} C_ij^2 / d, over the rows of all workers."""

    def __init__(self, config: VicRegConfig):
        super().__init__()
        self.config = config

    def forward(self, feature: Tensor) -> Tensor:
        """Scalar of (n, d) local rows."""
        with torch.autocast(feature.device.type, enabled=False):
            rows = world.gather_rows(feature if feature.dtype == torch.float64 else feature.float())
            n, d = rows.shape
            rows = rows - rows.mean(0)
            covariance = rows.T @ rows / (n - 1)
            variances = covariance.diagonal()
            hinge = torch.relu(1 - (variances + 1e-4).sqrt()).mean()
            off_diagonal = (covariance.square().sum() - variances.square().sum()) / d
            return self.config.variance * hinge + self.config.covariance * off_diagonal
