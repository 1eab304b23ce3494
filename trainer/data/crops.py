"""Random resized crops of a whole batch, each image with its own box.

Both functions reproduce torchvision's RandomResizedCrop: the distribution of the boxes, and bicubic
interpolation with anti-aliasing of a float image. Interpolation is separable and linear, so a crop is
two matrix products, with weights that hold the box, the resize and the flip of each view.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ATTEMPTS = 10
CROP_NUMBERS = 2 * _ATTEMPTS + 2
"""Random numbers per box: area and aspect of each attempt, then the position."""


def crop_boxes(
    uniform: Tensor,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Boxes distributed as those of torchvision's RandomResizedCrop.

    The area is uniform in ``scale`` of the image and the aspect (width / height) log-uniform in
    ``ratio``; the first of ten attempts that fits is placed uniformly, and where none fits the box is
    the largest centred one of an allowed aspect.

    Args:
        uniform: (..., CROP_NUMBERS) in [0, 1).
        height, width: of the source image, in pixels.

    Returns:
        (..., 4): top, left, height, width in source pixels; whole numbers of ``uniform``'s type.

    Raises:
        ValueError: ``uniform`` has another number of columns.
    """
    if uniform.shape[-1] != CROP_NUMBERS:
        raise ValueError(
            f"a box needs {CROP_NUMBERS} random numbers, not {uniform.shape[-1]}; pass (..., {CROP_NUMBERS})"
        )
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[..., 0 : 2 * _ATTEMPTS : 2])
    aspect = torch.exp(log_ratio[0] + (log_ratio[1] - log_ratio[0]) * uniform[..., 1 : 2 * _ATTEMPTS : 2])
    wide, high = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    first = fits.int().argmax(-1, keepdim=True)
    wide, high = wide.gather(-1, first).squeeze(-1), high.gather(-1, first).squeeze(-1)
    # min: a number just below 1 must not round up to the position behind the last one
    room_down, room_right = height - high, width - wide
    top = torch.minimum((uniform[..., -2] * (room_down + 1)).floor(), room_down)
    left = torch.minimum((uniform[..., -1] * (room_right + 1)).floor(), room_right)
    high_c, wide_c = _central_size(height, width, ratio)
    boxes = torch.stack([top, left, high, wide], dim=-1)
    central = [(height - high_c) // 2, (width - wide_c) // 2, high_c, wide_c]
    fallback = torch.stack([torch.full_like(top, side) for side in central], dim=-1)
    return torch.where(fits.any(-1, keepdim=True), boxes, fallback)


def _central_size(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest box of an allowed aspect."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def resized_crop(images: Tensor, boxes: Tensor, size: int, flip: Tensor) -> Tensor:
    """Crop, resize to a square by anti-aliased bicubic interpolation, and flip horizontally where asked.

    Boxes may have leading axes in front of the batch, for several views of each image; the images are
    not repeated for them. As in torchvision, the interpolation of a float image may leave the range
    of its pixels near edges (8-bit images are clamped); the colour operations expect [0, 1].

    Args:
        images: (B, C, H, W) floating point.
        boxes: (..., B, 4) top, left, height, width in pixels, inside the image, at least one pixel.
        size: side of the result in pixels.
        flip: (..., B) bool.

    Returns:
        (..., B, C, size, size).

    Raises:
        ValueError: boxes or flips do not belong to this batch.
    """
    batch, channels, height, width = images.shape
    if boxes.shape[-2:] != (batch, 4) or flip.shape != boxes.shape[:-1]:
        given = f"{tuple(boxes.shape)} and {tuple(flip.shape)}"
        raise ValueError(f"{batch} images need boxes (..., {batch}, 4) and flips (..., {batch}), not {given}")
    leading = boxes.shape[:-2]
    views = math.prod(leading)
    # image-major: all views of an image share the first product
    boxes = boxes.reshape(views, batch, 4).transpose(0, 1).reshape(-1, 4).to(images.dtype)
    flip = flip.reshape(views, batch).T.reshape(-1)
    top, left, high, wide = boxes.unbind(-1)
    down = _bicubic(top, high, torch.zeros_like(flip), height, size)
    right = _bicubic(left, wide, flip, width, size)
    columns = images.transpose(1, 2).reshape(batch, height, channels * width)
    rows = torch.bmm(down.view(batch, views * size, height), columns)
    pixels = torch.bmm(rows.view(batch * views, size * channels, width), right.transpose(1, 2))
    pixels = pixels.view(batch, views, size, channels, size).permute(1, 0, 3, 2, 4)
    return pixels.reshape(*leading, batch, channels, size, size)


def _bicubic(start: Tensor, length: Tensor, reverse: Tensor, source: int, size: int) -> Tensor:
    """Weights (B, size, source) with which source pixels in [start, start + length) make the output pixels.

    Keys' cubic kernel with a = -1/2 ("Cubic convolution interpolation for digital image processing",
    1981), stretched by the reduction where the box is larger than the output, renormalised over the
    pixels inside the box.
    """
    kind = {"dtype": start.dtype, "device": start.device}
    output = torch.arange(size, **kind) + 0.5
    output = torch.where(reverse[:, None], size - output, output)
    scale = (length / size)[:, None]
    centre = start[:, None] + output * scale
    pixel = torch.arange(source, **kind) + 0.5
    distance = pixel.sub(centre[:, :, None]).abs_().div_(scale.clamp(min=1)[:, :, None])
    # a pixel outside is at least half a pixel outside: push it beyond the kernel's reach of 2
    outside = (start[:, None] - pixel).maximum(pixel - (start + length)[:, None]).clamp_(min=0)
    distance.add_(outside[:, None, :], alpha=4).clamp_(max=2)
    # (2-t)^2 (1-t) / 2 up to t = 2, and (1-t)^2 (2t-1) more up to t = 1
    near = distance.clamp(max=1)
    weights = (1 - near).square_().mul_(near.mul_(2).sub_(1))
    weights.addcmul_((2 - distance).square_(), 1 - distance, value=0.5)
    return weights.div_(weights.sum(-1, keepdim=True))
