"""An encoder of any number of like blocks, for questions about depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.blocks.conv import _conv
from trainer.blocks.faces import Encoder
from trainer.blocks.norm import GlobalBatchNorm
from trainer.config import EncoderConfig


class StackEncoder(Encoder):
    """A stride-2 convolution, and residual blocks of one 3 x 3 convolution each; the stem counts as a block."""

    def __init__(self, config: EncoderConfig, channels: int):
        super().__init__()
        self.features = 4 * config.width
        self.stem = nn.Sequential(*_conv(channels, self.features, stride=2))
        self.blocks = nn.ModuleList(_Residual(self.features) for _ in range(config.blocks - 1))

    def stages(self) -> list[nn.Module]:
        return [self.stem, *self.blocks]

    def tokens(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages():
            x = stage(x)
        return x.flatten(2).transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), GlobalBatchNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.conv(x)))
