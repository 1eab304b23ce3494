"""Colour operations on a whole batch, each image with its own parameters.

Each one equals torchvision's operation of that name on a float image (``torchvision.transforms.v2.functional``),
with parameters as tensors. Images are (B, C, H, W) with C = 3 (RGB) or 1, floating point in [0, 1]. The
inputs are never changed; rows that are off are returned bit by bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.data.rows import apply_where, selects_rows

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

ORDER_NUMBERS = 1
"""Random numbers per order."""


def permutations(uniform: Tensor) -> Tensor:
    """One of the 24 orders of four operations, uniformly.

    Args:
        uniform: (..., ORDER_NUMBERS) in [0, 1).

    Returns:
        (..., 4) int64, each row a permutation of 0, 1, 2, 3.

    Raises:
        ValueError: ``uniform`` has another number of columns.
    """
    if uniform.shape[-1] != ORDER_NUMBERS:
        raise ValueError(f"an order needs {ORDER_NUMBERS} random number, not {uniform.shape[-1]}; pass (..., 1)")
    code = (uniform[..., 0] * 24).long().clamp_(max=23)
    # each digit of the code counts among the values not yet taken
    first, second, third = code // 6, code // 2 % 3, code % 2
    second = second + (second >= first)
    third = third + (third >= torch.minimum(first, second))
    third = third + (third >= torch.maximum(first, second))
    return torch.stack([first, second, third, 6 - first - second - third], dim=-1)


def color_jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, order: Tensor, on: Tensor
) -> Tensor:
    """Brightness, contrast, saturation and hue, applied to each image in its own order.

    Args:
        images: (B, C, H, W) in [0, 1].
        brightness, contrast, saturation: (B,) factors, at least 0; 1 changes nothing.
        hue: (B,) shift in turns, in [-0.5, 0.5]; 0 changes nothing.
        order: (B, 4) int64, a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE per row.
        on: (B,) bool.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        ValueError: C is neither 1 nor 3.
    """
    _check_channels(images)
    factors = torch.stack([brightness, contrast, saturation, torch.ones_like(hue)], dim=-1).to(images.dtype)
    # factors in the order they are applied; the hue, 1, splits them into those before and those after it
    factors = factors.gather(1, order)
    hue_step = (order == HUE).int().argmax(1)
    if not selects_rows(images):
        adjusted = images.clone()
        for step in range(3):
            _blend_(adjusted, order[:, step], factors[:, step].where(hue_step > step, 1))
        _shift_hue_(adjusted, hue)
        for step in range(1, 4):
            _blend_(adjusted, order[:, step], factors[:, step].where(hue_step < step, 1))
        return torch.where(on[:, None, None, None], adjusted, images)
    # sorted by the step of the hue, the rows that have a blend before or after it are slices
    rows = on.nonzero().squeeze(1)
    rows = rows[hue_step[rows].argsort(stable=True)]
    ends = torch.bincount(hue_step[rows], minlength=4).cumsum(0).tolist()
    work, order, factors = images[rows], order[rows], factors[rows]
    for step in range(3):
        later = slice(ends[step], None)
        _blend_(work[later], order[later, step], factors[later, step])
    _shift_hue_(work, hue[rows])
    for step in range(1, 4):
        earlier = slice(0, ends[step - 1])
        _blend_(work[earlier], order[earlier, step], factors[earlier, step])
    adjusted = images.clone()
    adjusted[rows] = work
    return adjusted


def grayscale(images: Tensor, on: Tensor) -> Tensor:
    """Replace all channels by the luma (ITU-R 601-2) where ``on`` (B,); (B, C, H, W).

    Raises:
        ValueError: C is neither 1 nor 3.
    """
    _check_channels(images)
    return apply_where(on, lambda rows: _luma(rows).repeat(1, rows.shape[1], 1, 1), images)


def solarize(images: Tensor, threshold: float, on: Tensor) -> Tensor:
    """Invert the pixels at or above ``threshold`` where ``on`` (B,); (B, C, H, W).

    PIL's threshold t for 8-bit images is t / 255 here.
    """
    # |1 - x| inverts and |0 - x| keeps a pixel, exactly and without a selection
    return apply_where(on, lambda rows: (rows >= threshold).to(rows.dtype).sub_(rows).abs_(), images)


def _check_channels(images: Tensor) -> None:
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images have {images.shape[1]} channels; colour operations need 3 (RGB) or 1")


def _luma(images: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    if images.shape[1] == 1:
        return images.clone()
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _blend_(images: Tensor, operation: Tensor, factor: Tensor) -> None:
    """In place: factor * image + (1 - factor) * base, clamped to [0, 1].

    The base is black for brightness, the mean luma for contrast and the luma for saturation, so one
    pass serves all three. With factor 1 nothing changes.
    """
    other = 1 - factor
    luma = _luma(images)
    mean = luma.mean((1, 2, 3)) * other * (operation == CONTRAST)
    base = luma.mul_((other * (operation == SATURATION))[:, None, None, None]).add_(mean[:, None, None, None])
    images.mul_(factor[:, None, None, None]).add_(base).clamp_(0, 1)


def _shift_hue_(images: Tensor, hue: Tensor) -> None:
    """In place: turn the hue of RGB images by ``hue`` (B,) turns; single-channel images have none.

    Value and saturation stay, so with lowest channel l and span c the result is l + c * f(hue), where f
    is the fully saturated colour: of each channel a tent over the six sectors of the colour circle.
    """
    if images.shape[1] == 1:
        return
    red, green, blue = images.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = high - low
    # from red over green the colour's position is (green + blue - red - low) / span + 1, and the other
    # way round the circle it mirrors; no selection by the leading channel, which is slow on a CPU.
    # Grey pixels have no hue: 0 / tiny = 0, and their span of 0 keeps them grey.
    distance = (green + blue).sub_(red).sub_(low).div_(span.clamp(min=torch.finfo(images.dtype).tiny)).add_(1)
    sector = distance.copysign_(green - blue).add_(6 * hue.to(images.dtype)[:, None, None])
    sector.sub_((sector / 6).floor_(), alpha=6)
    red.copy_((sector - 3).abs_().sub_(1).clamp_(0, 1).mul_(span).add_(low))
    green.copy_((sector - 2).abs_().neg_().add_(2).clamp_(0, 1).mul_(span).add_(low))
    blue.copy_((sector - 4).abs_().neg_().add_(2).clamp_(0, 1).mul_(span).add_(low))
