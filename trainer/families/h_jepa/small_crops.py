"""Small crops beside the views (multi-crop): encoded as images of their own, and placed in the frame of a view."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.blocks.positions import grid_places
from trainer.blocks.vit import ViT
from trainer.source import Batch


def encoded(encoder: ViT, batch: Batch) -> Tensor:
    """(B, L, n, D) tokens of the L small crops of each image, all in one pass."""
    crops = batch["locals"]
    tokens = encoder.tokens(torch.cat(crops))
    return tokens.view(len(crops), -1, *tokens.shape[1:]).transpose(0, 1)


def in_frame(batch: Batch, view: int, grid: int, patch: int) -> Tensor:
    """(B, L, n, 2) where the patches of each small crop lie in a view, in the view's patches.

    Both were cut from the same image and may be mirrored. A small crop may reach beyond the view: places then lie
    outside the grid.

    Args:
        grid: patches along a view's side.
        patch: pixels of a patch.
    """
    side = batch["locals"][0].shape[-1] // patch
    boxes, mirrored = batch["local_boxes"][:, :, None].double(), batch["local_flips"][:, :, None]
    # the centres of patches as fractions of the small crop, then pixels of the image
    inside = (grid_places(side, boxes.device) + 0.5) / side
    down, right = inside.unbind(-1)
    right = torch.where(mirrored, 1 - right, right)
    down, right = boxes[..., 0] + down * boxes[..., 2], boxes[..., 1] + right * boxes[..., 3]
    frame = batch["boxes"][:, view, None, None].double()
    down, right = (down - frame[..., 0]) / frame[..., 2], (right - frame[..., 1]) / frame[..., 3]
    right = torch.where(batch["flips"][:, view, None, None], 1 - right, right)
    return torch.stack([down, right], -1) * grid - 0.5
