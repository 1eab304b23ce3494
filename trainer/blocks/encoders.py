"""View encoders: (N, C, H, W) images to (N, ``features``) codes, non-negative after the last ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.config import EncoderConfig
from trainer.fast.fused_norm import norm_act
from trainer.blocks.norm import GlobalBatchNorm
from trainer.fast.packed_conv import PackedConv


def make_encoder(config: EncoderConfig, channels: int) -> nn.Module:
    """The configured encoder; its ``features`` attribute is the width of a code."""
    return ConvEncoder(config, channels) if config.name == "conv" else ResNet18(config, channels)


class ConvEncoder(nn.Module):
    """A small residual network for small images: two stride-2 convolutions, one residual block, pooling.

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

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(images)
        return torch.relu(x + self.residual(x)).mean((2, 3))


def _conv(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), GlobalBatchNorm(outputs), nn.ReLU(inplace=True)]


class ResNet18(nn.Module):
    """ResNet-18 without classifier, by default with the CIFAR stem (3x3 stride-1 first convolution, no max-pooling).

    Structure and initialisation are torchvision's, with the last norm of each block starting at zero as in
    the paper's code. ``width`` = 64 is the standard network: 512 features, 11.17 M parameters for RGB.
    """

    def __init__(self, config: EncoderConfig, channels: int):
        super().__init__()
        width = config.width
        imagenet = config.stem == "imagenet"
        self.stem = nn.Conv2d(channels, width, 7, 2, 3, bias=False) if imagenet else nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.norm = GlobalBatchNorm(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        blocks, inputs = [], width
        for stage in range(4):
            planes = width * 2**stage
            blocks += [Block(inputs, planes, 1 if stage == 0 else 2), Block(planes, planes, 1)]
            inputs = planes
        self.features = inputs
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block):
                nn.init.zeros_(module.norm2.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(norm_act(self.norm, self.stem(images)))
        return self.blocks(x).mean((2, 3))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = PackedConv(inputs, outputs, 3, stride, 1, bias=False), GlobalBatchNorm(outputs)
        self.conv2, self.norm2 = PackedConv(outputs, outputs, 3, 1, 1, bias=False), GlobalBatchNorm(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = GlobalBatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(norm_act(self.norm1, self.conv1(x)))
        residual = x if self.shortcut is None else norm_act(self.shortcut_norm, self.shortcut(x), relu=False)
        return norm_act(self.norm2, y, residual)
