"""Gaussian blur of a whole batch, each image with its own width."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.data.rows import apply_where


def gaussian_blur(images: Tensor, sigma: Tensor, kernel_size: int, on: Tensor) -> Tensor:
    """Blur as torchvision does: a sampled, normalised Gaussian with mirrored borders (edge pixel not repeated).

    The kernel is separable, so a blur is a banded matrix on each side of the image.

    Args:
        images: (B, C, H, W) floating point.
        sigma: (B,) standard deviation in pixels; 0 changes nothing.
        kernel_size: odd number of pixels, the same for all.
        on: (B,) bool; other rows are returned bit by bit.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: ``kernel_size`` is even, below 1, or needs more mirrored pixels than the image has.
    """
    height, width = images.shape[-2:]
    if kernel_size < 1 or kernel_size % 2 == 0 or kernel_size // 2 >= min(height, width):
        raise ValueError(
            f"kernel_size = {kernel_size} must be odd and at most {2 * min(height, width) - 1} for {height} x {width}"
            " images"
        )
    return apply_where(on, lambda rows, sigma: _blur(rows, sigma, kernel_size), images, sigma.to(images.dtype))


def _blur(images: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    batch, channels, height, width = images.shape
    offset = torch.arange(kernel_size, dtype=sigma.dtype, device=sigma.device) - kernel_size // 2
    # far below the pixel's side every width gives the same single weight; 0 would give 0 / 0
    kernel = torch.softmax(-0.5 * (offset / sigma.clamp(min=1e-3)[:, None]).square(), dim=-1)
    across, down = _band(kernel, width), _band(kernel, height)
    rows = torch.bmm(images.reshape(batch, channels * height, width), across.transpose(1, 2))
    rows = rows.view(batch, channels, height, width)
    return torch.matmul(down[:, None], rows)


def _band(kernel: Tensor, size: int) -> Tensor:
    """(B, size, size) matrices that convolve with (B, K) kernels on a line of ``size`` mirrored pixels."""
    position = torch.arange(size, device=kernel.device)
    offset = torch.arange(kernel.shape[1], device=kernel.device) - kernel.shape[1] // 2
    read = (position[:, None] + offset[:, None, None]).abs()
    read = (size - 1) - ((size - 1) - read).abs()
    reads = (read == position).to(kernel.dtype)
    return (kernel @ reads.flatten(1)).view(-1, size, size)
