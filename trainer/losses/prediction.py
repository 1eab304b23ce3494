"""How far a predicted code is from the target branch's code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import world
from trainer.config import SharpenConfig


def wide(x: Tensor) -> Tensor:
    """At least fp32: half precision has no digits left for a cosine near 1, nor for the covariance of many rows."""
    return x if x.dtype == torch.float64 else x.float()


def cosine_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos over (B, D) rows (paper equation 3)."""
    return (1 - F.cosine_similarity(wide(prediction), wide(target), dim=1, eps=1e-8)).mean()


class SharpenedLoss(nn.Module):
    """Distance to a centred, sharpened target (forms: see :class:`trainer.config.SharpenConfig`).

    The centre is the moving average of target codes over the rows of all workers. It is read before it is updated
    (DINO, 2104.14294, algorithm 1), except by ``log_cosine``, whose original updated it first.
    """

    def __init__(self, config: SharpenConfig, features: int):
        super().__init__()
        self.config = config
        self.register_buffer("center", torch.zeros(features))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (B, D) predictions and target codes; only in training mode does the centre move."""
        prediction, target = wide(prediction), wide(target)
        form = self.config.form
        if form == "log_cosine":
            self._move(target)
            return cosine_distance(
                prediction, torch.softmax((target - self.center) / self.config.target_temperature, dim=1)
            )
        # a copy: the buffer moves before backward reads what it was
        center = self.center.clone()
        self._move(target)
        if form == "center_cosine":
            return cosine_distance(prediction, target - center)
        goal = torch.softmax((target - center) / self.config.target_temperature, dim=1)
        return -(goal * F.log_softmax(prediction / self.config.prediction_temperature, dim=1)).sum(1).mean()

    @torch.no_grad()
    def _move(self, target: Tensor) -> None:
        if self.training:
            mean = world.mean_over_workers(target.detach().mean(0)).to(self.center.dtype)
            self.center.lerp_(mean, 1 - self.config.center_momentum)
