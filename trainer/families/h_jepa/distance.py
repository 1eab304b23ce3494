"""How far predicted tokens are from the target's, and what a prediction that knows nothing would have."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.prediction import wide


def distances(prediction: Tensor, goal: Tensor, normalise: str, beta: float) -> Tensor:
    """(...) smooth L1 distance of (..., D) tokens, the mean over their channels.

    Args:
        normalise: ``target``: goals to mean 0 and variance 1; ``both_unit``: both to length 1.
    """
    prediction, goal = wide(prediction), normalised(wide(goal), normalise)
    if normalise == "both_unit":
        prediction = F.normalize(prediction, dim=-1)
    return F.smooth_l1_loss(prediction, goal, reduction="none", beta=beta).mean(-1)


def normalised(goal: Tensor, normalise: str) -> Tensor:
    """Goals (..., D) as predictions are compared with them."""
    return F.normalize(goal, dim=-1) if normalise == "both_unit" else F.layer_norm(goal, goal.shape[-1:])


def chance(normalise: str, beta: float, width: int) -> dict[str, float]:
    """Expected distance of predictions that know nothing: ``zero``, the constant that minimises it without knowing the
    target, and ``independent``, one of the targets at random; channels taken as independent and normal."""
    variance = 1.0 if normalise == "target" else 1 / width
    zero = _expected(math.sqrt(variance), beta)
    # a prediction of length 1 cannot be zero
    independent = _expected(math.sqrt(2 * variance), beta)
    return {"independent": independent} | ({"zero": zero} if normalise == "target" else {})


def _expected(scale: float, beta: float) -> float:
    """E of the smooth L1 distance of N(0, scale^2) from 0."""
    c = beta / scale
    density, tail = math.exp(-c * c / 2) / math.sqrt(2 * math.pi), math.erfc(c / math.sqrt(2)) / 2
    inner = scale * scale / (2 * beta) * (1 - 2 * tail - 2 * c * density)
    return inner + 2 * (scale * density - beta / 2 * tail)


def mean_valid(each: Tensor, valid: Tensor, count: float) -> Tensor:
    """Sum of the valid ones over ``count``, the number of them on all workers per worker: the mean over workers of
    these is the mean over the global batch."""
    return torch.where(valid, each, 0.0).sum() / count
