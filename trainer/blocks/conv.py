"""A small convolutional encoder, for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.blocks.faces import Encoder
from trainer.blocks.norm import GlobalBatchNorm
from trainer.config import EncoderConfig


class ConvEncoder(Encoder):
    """A small residual network for small images: two stride-2 convolutions, one residual block; non-negative tokens.

    A first stage at full resolution would spend its time in batch-norm and ReLU: without it a 12 x 12 digits run took
    a quarter less time (one seed each; accuracy 74.3 against 75.7).
    """

    def __init__(self, config: EncoderConfig, channels: int):
        super().__init__()
        width = config.width
        self.features = 4 * width
        self.body = nn.Sequential(*_conv(channels, width, stride=2), *_conv(width, 4 * width, stride=2))
        self.residual = nn.Sequential(
            *_conv(4 * width, 4 * width, stride=1),
            nn.Conv2d(4 * width, 4 * width, 3, 1, 1, bias=False),
            GlobalBatchNorm(4 * width),
        )

    def stages(self) -> list[nn.Module]:
        """Its three blocks, images to the map before the tokens."""
        return [self.body[:3], self.body[3:], _Residual(self.residual)]

    def tokens(self, images: Tensor) -> Tensor:
        x = self.body(images)
        return torch.relu(x + self.residual(x)).flatten(2).transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


def _conv(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), GlobalBatchNorm(outputs), nn.ReLU(inplace=True)]
