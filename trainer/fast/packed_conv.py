"""Convolutions of small maps, several images side by side.

oneDNN's half-precision kernels work on rows of pixels: on 4 x 4 and 8 x 8 maps most of a register is empty. Laying
images side by side, separated by zero columns that stand for the padding, fills it. The result is the same sum of the
same products.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.blocks.resnet import Conv3x3

# images laid side by side, by the side of the map and the stride; measured on a processor with AMX
COUNTS = {(16, 2): 8, (8, 1): 32, (8, 2): 32, (4, 1): 32, (4, 2): 32}


def packed(conv: Conv3x3, x: Tensor) -> Tensor:
    """The convolution of (N, C, H, W) maps, packed where their number and side allow it."""
    count, stride = COUNTS.get((x.shape[-1], conv.stride[0])) if conv.training else None, conv.stride[0]
    if count is None or len(x) % count or x.shape[-1] != x.shape[-2]:
        return conv._conv_forward(x, conv.weight, None)
    wide = conv._conv_forward(_side_by_side(x, count, stride), conv.weight, None)
    return _apart(wide, count, x.shape[-1] // stride)


def _side_by_side(x: Tensor, count: int, gap: int) -> Tensor:
    """(N, C, H, W) to (N / count, C, H, count (W + gap)), channels-last; a gap of ``stride`` zeros keeps images
    apart."""
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n // count, count, h, w, c).transpose(1, 2)
    return F.pad(x, (0, 0, 0, gap)).reshape(n // count, h, count * (w + gap), c).permute(0, 3, 1, 2)


def _apart(y: Tensor, count: int, width: int) -> Tensor:
    """The inverse: drop the columns of the gaps."""
    n, c, h, total = y.shape
    y = y.permute(0, 2, 3, 1).reshape(n, h, count, total // count, c)[:, :, :, :width].transpose(1, 2)
    return y.reshape(n * count, h, width, c).permute(0, 3, 1, 2)
