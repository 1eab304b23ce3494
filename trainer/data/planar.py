"""Views that are planar warps of one image: rotation, or rotation, translation and scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.data import poses
from trainer.data.poses import Poses


class Planar:
    """Draws, renders and describes planar views.

    Attributes:
        parameters: components of an action (and of a pose): sin, cos; under ``affine`` also x, y, log scale.
        factors: action components by factor.
        told: the components the model sees; all of them.
        per_image: every view is made from the same stored image.
    """

    per_image = True

    def __init__(self, config: DataConfig):
        self._config = config
        affine = config.transform == "affine"
        self.parameters = 5 if affine else 2
        self.factors = {"rotation": slice(0, 2)} | ({"position": slice(2, 4), "scale": slice(4, 5)} if affine else {})
        self.told = slice(None)

    def numbers(self, views: int) -> int:
        """Random numbers per sequence of ``views`` views."""
        return 4 * views

    def draw(self, uniform: Tensor, index: Tensor, views: int) -> Poses:
        """Poses (B, V) from (B, numbers) uniforms; the first is the identity if ``anchor_first``."""
        config = self._config
        uniform = uniform.view(len(uniform), views, 4)
        signed = 2 * uniform - 1
        if config.anchor_first:
            signed = signed.clone()
            signed[:, 0] = 0
        if config.angle_steps is None:
            angle = signed[..., 0] * math.radians(config.max_angle)
        else:
            steps = (uniform[..., 0] * config.angle_steps).floor()
            if config.anchor_first:
                steps[:, 0] = 0
            angle = steps * (2 * math.pi / config.angle_steps)
        if config.scale_range is None:
            log_scale = signed[..., 3] * (config.max_log_scale or 0.0)
        else:
            low, high = (math.log(bound) for bound in config.scale_range)
            log_scale = low + uniform[..., 3] * (high - low)
            if config.anchor_first:
                log_scale[:, 0] = 0
        return Poses(angle=angle, shift=signed[..., 1:3] * (config.max_shift or 0.0), log_scale=log_scale)

    def rows(self, index: Tensor, pose: Poses) -> Tensor:
        """Stored images that the views are made from, (B,)."""
        return index

    def render(self, images: Tensor, pose: Poses) -> list[Tensor]:
        """V views (B, C, canvas, canvas) of (B, C, h, w) images in [0, 1]."""
        views = pose.angle.shape[1]
        # view-major, so that each view is one contiguous tensor
        flat = Poses(pose.angle.T.reshape(-1), pose.shift.transpose(0, 1).reshape(-1, 2), pose.log_scale.T.reshape(-1))
        rendered = poses.render(images.repeat(views, 1, 1, 1), flat, self._config)
        return list(rendered.view(views, len(images), *rendered.shape[1:]).unbind(0))

    def absolute(self, pose: Poses) -> Tensor:
        """(B, V, parameters) pose of every view."""
        return pose.parameters(self._config.transform)

    def actions(self, pose: Poses) -> Tensor:
        """(B, V-1, parameters) from each view to the next; the group's own difference, so inverses are exact."""
        return poses.relative(pose[:, :-1], pose[:, 1:]).parameters(self._config.transform)

    def reverse(self, pose: Poses) -> Poses:
        """The same views in reverse order."""
        return Poses(pose.angle.flip(1), pose.shift.flip(1), pose.log_scale.flip(1))

    def sweep(self, factor: str, steps: int) -> tuple[Tensor, Poses]:
        """Values of one factor over its range, the others at zero.

        Returns:
            (T,) values (degrees, half canvases or log scale) and poses of shape (T,). An angle's end point is left out.
        """
        config, zero = self._config, torch.zeros(steps)
        if factor == "rotation":
            full = config.max_angle is None or config.max_angle == 180
            values = (
                torch.arange(steps) * (360 / steps)
                if full
                else torch.linspace(-config.max_angle, config.max_angle, steps)
            )
            return values, Poses(torch.deg2rad(values), torch.zeros(steps, 2), zero)
        if factor in ("shift_x", "shift_y"):
            values = torch.linspace(-config.max_shift, config.max_shift, steps)
            pair = (values, zero) if factor == "shift_x" else (zero, values)
            return values, Poses(zero, torch.stack(pair, 1), zero)
        low, high = (
            (math.log(b) for b in config.scale_range)
            if config.scale_range
            else (-config.max_log_scale, config.max_log_scale)
        )
        values = torch.linspace(low, high, steps)
        return values, Poses(zero, torch.zeros(steps, 2), values)

    @property
    def sweep_factors(self) -> tuple[str, ...]:
        return ("rotation", "shift_x", "shift_y", "scale") if self._config.transform == "affine" else ("rotation",)
