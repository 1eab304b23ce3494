"""Views that are augmentations of one image, with their parameters as actions (paper A.1).

Absolute parameters of a view, in this order: crop i, j, h, w (source pixels: top, left, height, width), brightness,
contrast, saturation, hue (factors, 1, 1, 1, 0 where jitter is off), blur sigma (pixels, 0 where blur is off), and for
the ``extended`` action flip, grey, solarise (0 or 1). An action is the difference of two views' parameters.

Known from the paper's code and kept as its definition: flip, order of the jitter steps, grey and solarisation are not
in the nine-component action.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.data import crops, photometric
from trainer.data.blur import gaussian_blur

SLICES = {
    "crop_jitter_blur": slice(0, 9),
    "crop": slice(0, 4),
    "jitter": slice(4, 8),
    "blur": slice(8, 9),
    "crop_jitter": slice(0, 8),
    "extended": slice(0, 12),
}


@dataclass(frozen=True)
class Augmentation:
    """Parameters of (B, V) views: box and jitter (B, V, 4), the others (B, V); ``order`` are (B, V, 4) permutations."""

    box: Tensor
    flip: Tensor
    jitter: Tensor
    jitter_on: Tensor
    order: Tensor
    grey: Tensor
    sigma: Tensor
    solarize: Tensor


class Augment:
    """Draws, renders and describes augmented views; attributes as in :class:`trainer.data.planar.Planar`."""

    per_image = True

    def __init__(self, config: DataConfig, side: int):
        self._config, self._augment, self._side = config, config.augment, side
        self._extended = config.augment.action == "extended"
        self.parameters = 12 if self._extended else 8 if config.augment.action == "crop_jitter" else 9
        groups = {"crop": slice(0, 4), "jitter": slice(4, 8), "blur": slice(8, 9)}
        if config.augment.action == "crop_jitter":
            del groups["blur"]
        self.factors = groups | ({"switches": slice(9, 12)} if self._extended else {})
        self.told = SLICES[config.augment.action]
        # kernel of the paper's code, an odd number near 5 % of the side plus one: 3 for 32 pixels, 7 for 64
        self.kernel = 2 * round((config.canvas - 10) / 20) + 1
        self._per_view = crops.CROP_NUMBERS + 12

    def numbers(self, views: int) -> int:
        return self._per_view * views

    def draw(self, uniform: Tensor, index: Tensor, views: int) -> Augmentation:
        """Parameters of (B, V) views from (B, numbers) uniforms; the last view is the target."""
        a = self._augment
        uniform = uniform.view(len(uniform), views, self._per_view)
        crop, u = uniform[..., : crops.CROP_NUMBERS], uniform[..., crops.CROP_NUMBERS :]
        box = crops.crop_boxes(crop, self._side, self._side, a.crop_scale)
        jitter_on = u[..., 1] < a.jitter
        # column by column: a list of constants would be copied to the device every step, and waited for
        ranges = (a.brightness, 1.0), (a.contrast, 1.0), (a.saturation, 1.0), (a.hue, 0.0)
        drawn = [middle + half * (2 * u[..., 2 + k] - 1) for k, (half, middle) in enumerate(ranges)]
        columns = [torch.where(jitter_on, column, middle) for column, (_, middle) in zip(drawn, ranges, strict=True)]
        jitter = torch.stack(columns, dim=-1)
        chance = u.new_full((views,), a.blur), u.new_full((views,), a.solarize)
        # fill: assigning a number to a single element would copy it from the host
        chance[0][-1:].fill_(a.target_blur), chance[1][-1:].fill_(a.target_solarize)
        low, high = a.blur_sigma
        sigma = torch.where(u[..., 8] < chance[0], low + (high - low) * u[..., 9], 0.0)
        return Augmentation(
            box=box,
            flip=u[..., 0] < a.flip,
            jitter=jitter,
            jitter_on=jitter_on,
            order=photometric.permutations(u[..., 6:7]),
            grey=u[..., 7] < a.grey,
            sigma=sigma,
            solarize=u[..., 10] < chance[1],
        )

    def rows(self, index: Tensor, parameters: Augmentation) -> Tensor:
        return index

    def render(self, images: Tensor, parameters: Augmentation) -> list[Tensor]:
        """V views (B, C, canvas, canvas) of (B, C, h, w) images in [0, 1]."""
        views, count = parameters.flip.shape[1], len(images)
        p = {f.name: getattr(parameters, f.name).transpose(0, 1).flatten(0, 1) for f in fields(parameters)}
        x = crops.resized_crop(images, parameters.box.transpose(0, 1), self._config.canvas, parameters.flip.T)
        # bicubic interpolation overshoots; an 8-bit image, which the paper's code augments, cannot
        x = x.flatten(0, 1).clamp(0, 1)
        x = photometric.color_jitter(x, *p["jitter"].to(x.dtype).unbind(1), p["order"], p["jitter_on"])
        x = photometric.grayscale(x, p["grey"])
        x = gaussian_blur(x, p["sigma"].to(x.dtype), self.kernel, p["sigma"] > 0)
        x = photometric.solarize(x, 128 / 255, p["solarize"])
        return list(x.view(views, count, *x.shape[1:]).unbind(0))

    def absolute(self, parameters: Augmentation) -> Tensor:
        """(B, V, parameters)."""
        p = parameters
        columns = torch.cat([p.box.to(p.jitter.dtype), p.jitter, p.sigma[..., None]], dim=-1)
        if self._extended:
            switches = torch.stack([p.flip, p.grey, p.solarize], dim=-1)
            columns = torch.cat([columns, switches.to(columns.dtype)], dim=-1)
        return columns[..., : self.parameters]

    def actions(self, parameters: Augmentation) -> Tensor:
        """(B, V-1, parameters): the next view's parameters minus this one's."""
        return self.absolute(parameters).diff(dim=1)

    def reverse(self, parameters: Augmentation) -> Augmentation:
        return Augmentation(**{f.name: getattr(parameters, f.name).flip(1) for f in fields(parameters)})
