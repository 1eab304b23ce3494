"""VICReg with its invariance term (Bardes et al., arXiv 2105.04906, equation 6), over views of the same images."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer import world
from trainer.config.paired import CJepaConfig
from trainer.losses.prediction import wide
from trainer.losses.term import Regularising, Term


class VicRegPairs(Regularising):
    """invariance x mean (z - z')^2 + variance x the views' mean hinge + covariance x the views' summed covariances."""

    config: CJepaConfig

    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """Of (V, n, d) local rows, V of 2 or more; the invariance is between the first view and each other."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = wide(rows)
            rows = torch.stack([world.gather_rows(view) for view in rows])
            _, n, d = rows.shape
            invariance = (rows[1:] - rows[:1]).square().mean()
            centred = rows - rows.mean(1, keepdim=True)
            covariance = centred.transpose(1, 2) @ centred / (n - 1)
            variances = covariance.diagonal(dim1=1, dim2=2)
            variance = torch.relu(1 - (variances + 1e-4).sqrt()).mean()
            spill = (covariance.square().sum() - variances.square().sum()) / d
            value = (
                self.config.invariance * invariance + self.config.variance * variance + self.config.covariance * spill
            )
            return Term(value, {"invariance": invariance.detach(), "variance_hinge": variance.detach()})
