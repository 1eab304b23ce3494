"""Mixing the images of a batch (mixup, 1710.09412, and CutMix, 1905.04899).

Both are decided by (seed, step) for the whole global batch, before any encoder sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data.philox import Purpose, derived_seed


@dataclass(frozen=True)
class Mixing:
    """Of one step.

    Attributes:
        partner: (B,) int64, whose image each row of the global batch is mixed with.
        kept: share of its own image: of every pixel's value, or of the pixels where ``box`` is given.
        box: top, left, height and width of what the partner's image covers, as fractions; None for mixup.
    """

    partner: Tensor
    kept: float
    box: tuple[float, float, float, float] | None


def draw_mixing(seed: int, step: int, batch: int, mixup: float | None, cutmix: float | None) -> Mixing:
    """With both given, a step does either with the same chance."""
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, Purpose.MIXING, step)))
    partner = torch.from_numpy(generator.permutation(batch))
    cuts = cutmix is not None and (mixup is None or generator.random() < 0.5)
    alpha = cutmix if cuts else mixup
    kept = float(generator.beta(alpha, alpha))
    if not cuts:
        return Mixing(partner, kept, None)
    side = (1 - kept) ** 0.5
    top, left = generator.random(2) * (1 - side)
    return Mixing(partner, kept, (float(top), float(left), side, side))


def mixed(mixing: Mixing, own: Tensor, others: Tensor) -> Tensor:
    """Images (B, C, H, W) mixed with their partners'."""
    if mixing.box is None:
        return mixing.kept * own + (1 - mixing.kept) * others
    height, width = own.shape[-2:]
    top, left, high, wide = (
        round(part * side) for part, side in zip(mixing.box, (height, width, height, width), strict=True)
    )
    result = own.clone()
    result[..., top : top + high, left : left + wide] = others[..., top : top + high, left : left + wide]
    return result
