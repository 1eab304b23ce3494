"""The three terms of latent predictive learning (Halvagal & Zenke, Nature Neuroscience 2023).

Features are (V, B, D) of V consecutive views, or (V, B, D, H, W) unpooled. The reference code has two views; sums over
its two are means over V here. Nothing is detached in ``pull``: both views get gradient, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-4


def pull(prediction: Tensor, following: Tensor) -> Tensor:
    """Mean squared distance between each view's prediction and the view that follows, both (V-1, B, D)."""
    return (prediction - following).square().mean()


def push(z: Tensor) -> Tensor:
    """Minus the mean log variance over the batch: its gradient is a Hebbian rule that slows down with the variance."""
    return -(z.var(1, correction=1) + EPS).log().mean()


def stale_push(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The same kind of gradient by statistics (D,) of the batch before, as constants."""
    shape = [-1] + [1] * (z.dim() - 3)
    mean, variance = mean.detach().view(shape), variance.detach().view(shape)
    return -((z - mean).square() / (variance + EPS)).sum(1).mean() / (z.shape[1] - 1)


def decorrelation(z: Tensor) -> Tensor:
    """Mean squared covariance of different features."""
    rows = z.flatten(3).permute(0, 1, 3, 2).flatten(1, 2) if z.dim() > 3 else z
    rows = rows - rows.mean(1, keepdim=True)
    covariance = rows.transpose(1, 2) @ rows / (rows.shape[1] - 1)
    width = z.shape[2]
    if width == 1:
        return covariance.sum() * 0
    squares = covariance.square()
    off = squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)
    return off.mean() / (width * width - width)


@torch.no_grad()
def statistics(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (D,) of (V, B, D) over the batch, averaged over views."""
    return z.mean(1).mean(0), z.var(1, correction=1).mean(0)
