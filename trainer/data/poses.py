"""Planar similarity transformations: poses, rendering them, and the actions between them.

A pose maps content coordinates x (canvas half-width = 1, y down) to the view: x' = s R(theta) x + t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import DataConfig


@dataclass(frozen=True)
class Poses:
    """Any number of poses; the tensors share one shape.

    Attributes:
        angle: theta in radians, positive turns x towards y (clockwise on screen).
        shift: (..., 2) translation in half canvases, (x, y).
        log_scale: log s.
    """

    angle: Tensor
    shift: Tensor
    log_scale: Tensor

    def parameters(self, transform: str) -> Tensor:
        """(..., P) regression targets: sin, cos (and tx, ty, log s under ``affine``)."""
        columns = [self.angle.sin(), self.angle.cos()]
        if transform == "affine":
            columns += [self.shift[..., 0], self.shift[..., 1], self.log_scale]
        return torch.stack(columns, dim=-1)

    def __getitem__(self, item: object) -> Poses:
        return Poses(self.angle[item], self.shift[item], self.log_scale[item])


def relative(start: Poses, end: Poses) -> Poses:
    """The pose a with end = a after start, so that warping view ``start`` by ``a`` gives view ``end``.

    Its inverse is ``relative(end, start)`` exactly.
    """
    angle = end.angle - start.angle
    log_scale = end.log_scale - start.log_scale
    return Poses(angle, end.shift - _turn(start.shift, angle, log_scale), log_scale)


def render(images: Tensor, poses: Poses, config: DataConfig) -> Tensor:
    """Warp images with one bilinear interpolation; outside the image is black.

    Args:
        images: (B, C, h, w) floating point.
        poses: shape (B,).

    Returns:
        (B, C, canvas, canvas).
    """
    # grid_sample wants, for each output point, where to read: the inverse transformation,
    # stretched because the image fills only content/canvas of the canvas
    stretch = config.canvas / config.content
    scale = torch.exp(-poses.log_scale) * stretch
    cos, sin = poses.angle.cos() * scale, poses.angle.sin() * scale
    x, y = poses.shift.unbind(-1)
    rows = torch.stack([cos, sin, -(cos * x + sin * y), -sin, cos, sin * x - cos * y], dim=-1)
    matrix = rows.view(-1, 2, 3).to(images.dtype)
    size = [len(images), images.shape[1], config.canvas, config.canvas]
    grid = F.affine_grid(matrix, size, align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _turn(points: Tensor, angle: Tensor, log_scale: Tensor) -> Tensor:
    """s R(angle) applied to (..., 2) points."""
    scale = log_scale.exp()
    cos, sin = angle.cos() * scale, angle.sin() * scale
    x, y = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
