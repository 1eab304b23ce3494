"""Levels of a grid of tokens: means of squares of patches, and a feature pyramid over them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.families.h_jepa.config import FpnConfig
from trainer.families.h_jepa.masks import CEIL


def as_map(tokens: Tensor) -> Tensor:
    """(B, g^2, D) tokens in row order to (B, D, g, g)."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def as_tokens(grid: Tensor) -> Tensor:
    """(B, D, g, g) to (B, g^2, D)."""
    return grid.flatten(2).transpose(1, 2)


def pooled_maps(grid: Tensor, levels: int) -> list[Tensor]:
    """A map and its means over squares of 2, 4 ... cells; squares at the edge of an odd grid hold fewer."""
    return [grid] + [F.avg_pool2d(grid, 2**level, **CEIL) for level in range(1, levels)]


class Pyramid(nn.Module):
    """A feature pyramid of the levels, from the coarsest down.

    ``add`` is torchvision's network: a 1 x 1 convolution of each level, plus the coarser one at twice its size, and a
    3 x 3 convolution. ``concat`` puts the two side by side and mixes them by another 1 x 1 convolution.

    Args:
        used: whether each level is read; convolutions that serve none of those are not trained.
    """

    def __init__(self, config: FpnConfig, features: int, used: list[bool]):
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork  # a second: only this option needs it

        self.network = FeaturePyramidNetwork([features] * len(used), config.width)
        self.mix = (
            nn.ModuleList(nn.Conv2d(2 * config.width, config.width, 1) for _ in used[:-1])
            if config.merge == "concat"
            else None
        )
        for level, read in enumerate(used):
            self.network.layer_blocks[level].requires_grad_(read)
            self.network.inner_blocks[level].requires_grad_(any(used[: level + 1]))
            if self.mix is not None and level < len(used) - 1:
                self.mix[level].requires_grad_(any(used[: level + 1]))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, features, g_l, g_l) from the finest to (B, width, g_l, g_l)."""
        if self.mix is None:
            named = {str(level): one for level, one in enumerate(maps)}
            return list(self.network(named).values())
        inner = [block(one) for block, one in zip(self.network.inner_blocks, maps, strict=True)]
        above = inner[-1]
        results = [self.network.layer_blocks[-1](above)]
        for level in reversed(range(len(maps) - 1)):
            grown = F.interpolate(above, size=inner[level].shape[-2:], mode="nearest")
            above = self.mix[level](torch.cat([inner[level], grown], 1))
            results.insert(0, self.network.layer_blocks[level](above))
        return results
