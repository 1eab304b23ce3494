"""True factor sweeps: pictures of the same images at every value of one factor, the others untouched.

Planar views are rendered from the stored images, black outside them, and normalised afterwards, as in training. Of the
object sets only ``mini3d`` can be rendered at will: an object is turned from its first recorded view by A(theta) about the x,
y or z axis in the sense of the actions, R(theta) = R(0) A(theta): the action from theta = 0 is the same for all objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from trainer.config import SETS, DataConfig, RunConfig
from trainer.config.data import PLANAR
from trainer.data import poses
from trainer.data.images import ImageSet
from trainer.data.poses import Poses
from trainer.data.row_chunks import row_chunks
from trainer.data.sets import mini3d
from trainer.data.views import Views
from trainer.errors import UsageError
from trainer.runtime import pick_dtype
from trainer.subspace.sweep import FULL_CIRCLE

ANCHORS_AT_ONCE = 8


@dataclass(frozen=True)
class Pictures:
    """The sweep of one factor over A anchors, not yet rendered.

    Attributes:
        values: (T,) degrees, half canvases or log scale; 0 among them.
        angle: the values go once round the circle.
        render: positions of a anchors to pictures (a * T, C, H, W) as the encoder sees them, anchor after anchor.
        anchors: A.
    """

    values: Tensor
    angle: bool
    render: Callable[[Tensor], Tensor]
    anchors: int

    def batches(self) -> Iterator[Tensor]:
        """Pictures of ANCHORS_AT_ONCE anchors after the other."""
        for part in row_chunks(torch.arange(self.anchors), ANCHORS_AT_ONCE):
            yield self.render(part)


def factor_sweeps(config: RunConfig, images: ImageSet, views: Views, index: Tensor, steps: int) -> dict[str, Pictures]:
    """One sweep per factor of the transform; a factor whose range is a single point has none.

    Args:
        index: (A,) images, the anchors.
        steps: values of a full turn; a smaller range is divided as finely, on a grid through 0, and may get one value less.

    Raises:
        UsageError: views of this data set cannot be rendered for arbitrary values.
    """
    data = config.data
    if data.transform in PLANAR:
        return _planar(config, images, views, index, steps)
    if data.name == "mini3d":
        return _turned_solids(config, images, index, steps)
    recorded = data.transform == "object"
    why = "its pictures are recorded in poses of their own" if recorded else f"not defined for {data.transform}"
    raise UsageError(f"no factor sweeps for {data.name}: {why}; rotation, affine and mini3d can be rendered at any value")


def _planar(config: RunConfig, images: ImageSet, views: Views, index: Tensor, steps: int) -> dict[str, Pictures]:
    found = {}
    for factor in views.transform.sweep_factors:
        angle = factor == "rotation" and config.data.max_angle in (None, 180)
        values = views.transform.sweep(factor, steps if angle else 2)[0].double()
        if not angle:
            values = through_zero(float(values[0]), float(values[-1]), steps)
        if len(values) < 3:
            continue

        def render(part: Tensor, at: Poses = _poses(factor, values)) -> Tensor:
            return planar_pictures(config, images, index[part.to(index.device)], at)

        found[factor] = Pictures(values, angle, render, len(index))
    return found


def planar_pictures(config: RunConfig, images: ImageSet, index: Tensor, at: Poses) -> Tensor:
    """Every image of ``index`` (a,) in every one of the poses (T,), as the encoder sees it: (a * T, C, canvas, canvas)."""
    count = len(at.angle)
    pixels = _floating(images.images[index], config, index.device).repeat_interleave(count, dim=0)
    columns = (at.angle.repeat(len(index)), at.shift.repeat(len(index), 1), at.log_scale.repeat(len(index)))
    repeated = Poses(*(column.to(pixels.device, pixels.dtype) for column in columns))
    return _normal(poses.render(pixels, repeated, config.data), config.data)


def unmoved() -> Poses:
    """The one pose of the image as it is stored, shape (1,)."""
    return _poses("", torch.zeros(1))


def through_zero(low: float, high: float, steps: int) -> Tensor:
    """Equally spaced values (T,) within low .. high, or as far as 0 if that lies outside; 0 is one of them.

    The spacing is that of ``steps`` values from end to end. One value, 0, if the range is a single point there.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (steps - 1)
    if step == 0:
        return torch.zeros(1, dtype=torch.float64)
    # a little slack, so that an end point which is a multiple of the step but for rounding is kept
    first, last = -int(-low / step + 1e-6), int(high / step + 1e-6)
    return torch.arange(first, last + 1, dtype=torch.float64) * step


def _poses(factor: str, values: Tensor) -> Poses:
    nothing = torch.zeros_like(values)
    angle = torch.deg2rad(values) if factor == "rotation" else nothing
    shift = torch.stack([values if factor == "shift_x" else nothing, values if factor == "shift_y" else nothing], dim=1)
    return Poses(angle, shift, values if factor == "scale" else nothing)


def _turned_solids(config: RunConfig, images: ImageSet, index: Tensor, steps: int) -> dict[str, Pictures]:
    chosen = index.cpu().numpy()
    # an object is a function of its number and class: those after the last anchor are not needed
    planes = mini3d.solid_planes(images.labels[: chosen.max() + 1].cpu().numpy(), seed=0)[chosen]
    start = Rotation.from_quat(images.extras["quaternion"][index, 0].cpu().double().numpy())
    hue = images.extras["hue"][index, 0].cpu().numpy()
    values = torch.arange(steps, dtype=torch.float64) * (FULL_CIRCLE / steps)
    found = {}
    for number, axis in enumerate("xyz"):
        vectors = np.zeros((steps, 3))
        vectors[:, number] = np.deg2rad(values.numpy())

        def render(part: Tensor, turn: Rotation = Rotation.from_rotvec(vectors)) -> Tensor:
            pictures = []
            for anchor in part.tolist():
                solid, floor = np.repeat(planes[[anchor]], steps, 0), np.repeat(hue[[anchor]], steps)
                pictures.append(mini3d.render(solid, (start[anchor] * turn).as_quat(), floor, config.data.canvas))
            stored = torch.from_numpy(np.concatenate(pictures))
            return _normal(_floating(stored, config, index.device), config.data)

        found[f"rotation_{axis}"] = Pictures(values, True, render, len(index))
    return found


def _floating(stored: Tensor, config: RunConfig, device: torch.device) -> Tensor:
    return stored.to(device, pick_dtype(config)) / 255


def _normal(pictures: Tensor, data: DataConfig) -> Tensor:
    statistics = SETS[data.name].statistics if data.normalize == "dataset" else None
    if statistics is None:
        return pictures
    mean, std = (pictures.new_tensor(row).view(-1, 1, 1) for row in statistics)
    return (pictures - mean) / std
