"""True factor sweeps: pictures of the same images at every value of one factor, the others untouched.

Planar views are rendered from the stored images, black outside them, and normalised afterwards, as in training. Of the
object sets only ``mini3d`` can be rendered at will: an object is turned from its first recorded view by A(theta) about
the x, y or z axis in the sense of the actions, R(theta) = R(0) A(theta): the action from theta = 0 is the same for all
objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from trainer.config import SETS, DataConfig, RunConfig
from trainer.config.data import PLANAR
from trainer.data import poses
from trainer.data.images import ImageSet
from trainer.data.object_views import Recorded
from trainer.data.philox import Purpose, uniforms
from trainer.data.poses import Poses
from trainer.data.row_chunks import row_chunks
from trainer.data.sets import mini3d
from trainer.data.views import Views
from trainer.errors import UsageError
from trainer.runtime import pick_dtype
from trainer.subspace.sweep import FULL_CIRCLE

ANCHORS_AT_ONCE = 8
_UNITS = {"rotation": "degrees", "shift_x": "half canvases", "shift_y": "half canvases", "scale": "natural log"}
_OFFSETS = 2**30
"""The draw of the fixed views' stream that the further views of a sequence take their offsets from."""


@dataclass(frozen=True)
class Pictures:
    """The sweep of one factor over A anchors, not yet rendered.

    Attributes:
        values: (T,) degrees, half canvases or log scale; 0 among them.
        angle: the values go once round the circle.
        render: positions of a anchors to pictures (a * T, C, H, W) as the encoder sees them, anchor after anchor.
        anchors: A.
        unit: of the values, for people.
        sequence: positions of a anchors and a number of views V to the pictures of the views after the first
            (V - 1 of (a * T, C, H, W)) and the parameters of all V, as ``views.transform`` describes them. The first
            view is the one of ``render``; the others differ from it in the factors that are not swept, and in a swept
            full turn also
            in that one, by an offset which is drawn once per anchor and the same at all values: the sequence moves as a
                whole.
    """

    values: Tensor
    angle: bool
    render: Callable[[Tensor], Tensor]
    anchors: int
    unit: str
    sequence: Callable[[Tensor, int], tuple[list[Tensor], Any]]

    def parts(self) -> Iterator[Tensor]:
        """Positions of ANCHORS_AT_ONCE anchors after the other."""
        yield from row_chunks(torch.arange(self.anchors), ANCHORS_AT_ONCE)

    def batches(self) -> Iterator[Tensor]:
        """The pictures of every part."""
        yield from map(self.render, self.parts())


def factor_sweeps(config: RunConfig, images: ImageSet, views: Views, index: Tensor, steps: int) -> dict[str, Pictures]:
    """One sweep per factor of the transform; a factor whose range is a single point has none.

    Args:
        index: (A,) images, the anchors.
        steps: values of a full turn; a smaller range is divided as finely, on a grid through 0, and may get one value
            less.

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
    raise UsageError(
        f"no factor sweeps for {data.name}: {why}; rotation, affine and mini3d can be rendered at any value"
    )


def _planar(config: RunConfig, images: ImageSet, views: Views, index: Tensor, steps: int) -> dict[str, Pictures]:
    def pictures_of(part: Tensor, at: Poses) -> Tensor:
        return planar_pictures(config, images, index[part.to(index.device)], at)

    def sequence_of(part: Tensor, count: int, at: Poses, factor: str, angle: bool) -> tuple[list[Tensor], Poses]:
        rows = index[part.to(index.device)]
        moved = _moved(_offsets(views, rows, count, factor, angle), at)
        pixels = _floating(images.images[rows], config, index.device).repeat_interleave(len(at.angle), dim=0)
        return [_rendered(pixels, moved[:, view], config) for view in range(1, count)], moved

    found = {}
    for factor in views.transform.sweep_factors:
        angle = factor == "rotation" and config.data.max_angle in (None, 180)
        values = views.transform.sweep(factor, steps if angle else 2)[0].double()
        if not angle:
            values = through_zero(float(values[0]), float(values[-1]), steps)
        if len(values) < 3:
            continue

        at = _poses(factor, values)
        render, sequence = partial(pictures_of, at=at), partial(sequence_of, at=at, factor=factor, angle=angle)
        found[factor] = Pictures(values, angle, render, len(index), _UNITS[factor], sequence)
    return found


def _offsets(views: Views, index: Tensor, count: int, factor: str, angle: bool) -> Poses:
    """Poses (a, V) drawn as in training; none for the first view, nor in a swept factor whose range would be left."""
    numbers = uniforms(0, Purpose.FIXED_VIEWS, _OFFSETS, index, views.transform.numbers(count))
    drawn = views.transform.draw(numbers, index, count)
    kept = {name: torch.ones(count, device=index.device) for name in ("rotation", "shift_x", "shift_y", "scale")}
    for weight in kept.values():
        weight[0] = 0
    if not angle:
        kept[factor].zero_()
    shift = drawn.shift * torch.stack([kept["shift_x"], kept["shift_y"]], dim=-1)
    return Poses(drawn.angle * kept["rotation"], shift, drawn.log_scale * kept["scale"])


def _moved(offsets: Poses, at: Poses) -> Poses:
    """Every sequence of offsets (a, V) at every value of the sweep (T,): poses (a * T, V), anchor after anchor."""

    def both(offset: Tensor, value: Tensor) -> Tensor:
        return (offset[:, None] + value.to(offset)[None, :, None]).flatten(0, 1)

    angle, log_scale = both(offsets.angle, at.angle), both(offsets.log_scale, at.log_scale)
    return Poses(angle, both(offsets.shift, at.shift), log_scale)


def planar_pictures(config: RunConfig, images: ImageSet, index: Tensor, at: Poses) -> Tensor:
    """Every image of ``index`` (a,) in every one of the poses (T,), as the encoder sees it: (a * T, C, canvas,
    canvas)."""
    count = len(at.angle)
    pixels = _floating(images.images[index], config, index.device).repeat_interleave(count, dim=0)
    images_in = len(index)
    repeated = Poses(at.angle.repeat(images_in), at.shift.repeat(images_in, 1), at.log_scale.repeat(images_in))
    return _rendered(pixels, repeated, config)


def _rendered(pixels: Tensor, at: Poses, config: RunConfig) -> Tensor:
    pose = Poses(*(column.to(pixels.device, pixels.dtype) for column in (at.angle, at.shift, at.log_scale)))
    return _normal(poses.render(pixels, pose, config.data), config.data)


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
    recorded = images.extras["quaternion"][index].cpu().double().numpy()
    hue = images.extras["hue"][index].cpu()
    values = torch.arange(steps, dtype=torch.float64) * (FULL_CIRCLE / steps)

    def pictures_of(part: Tensor, turn: Rotation, view: int) -> Tensor:
        """The anchors' recorded view, turned."""
        pictures = []
        for anchor in part.tolist():
            solid, floor = np.repeat(planes[[anchor]], steps, 0), np.full(steps, hue[anchor, view].item(), np.float32)
            quaternion = (Rotation.from_quat(recorded[anchor, view]) * turn).as_quat()
            pictures.append(mini3d.render(solid, quaternion, floor, config.data.canvas))
        stored = torch.from_numpy(np.concatenate(pictures))
        return _normal(_floating(stored, config, index.device), config.data)

    def sequence_of(part: Tensor, count: int, turn: Rotation) -> tuple[list[Tensor], Recorded]:
        turned = [[(Rotation.from_quat(view) * turn).as_quat() for view in recorded[i, :count]] for i in part.tolist()]
        # (a, V, T, 4) to (a * T, V, 4)
        quaternion = torch.from_numpy(np.array(turned)).transpose(1, 2).flatten(0, 1).float().to(index.device)
        colours = hue[part.cpu(), :count, None].repeat_interleave(steps, dim=0).to(index.device)
        number = torch.arange(count, device=index.device).expand(len(quaternion), count)
        return [pictures_of(part, turn, view) for view in range(1, count)], Recorded(number, quaternion, colours)

    found = {}
    for number, axis in enumerate("xyz"):
        vectors = np.zeros((steps, 3))
        vectors[:, number] = np.deg2rad(values.numpy())
        turn = Rotation.from_rotvec(vectors)
        render, sequence = partial(pictures_of, turn=turn, view=0), partial(sequence_of, turn=turn)
        found[f"rotation_{axis}"] = Pictures(values, True, render, len(index), "degrees", sequence)
    return found


def _floating(stored: Tensor, config: RunConfig, device: torch.device) -> Tensor:
    return stored.to(device, pick_dtype(config)) / 255


def _normal(pictures: Tensor, data: DataConfig) -> Tensor:
    statistics = SETS[data.name].statistics if data.normalize == "dataset" else None
    if statistics is None:
        return pictures
    mean, std = (pictures.new_tensor(row).view(-1, 1, 1) for row in statistics)
    return (pictures - mean) / std
