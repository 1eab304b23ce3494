"""ResNet-18 as an encoder; its tokens are non-negative after the last ReLU."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainer.blocks.faces import Encoder
from trainer.blocks.norm import GlobalBatchNorm
from trainer.config import EncoderConfig


class ResNet18(Encoder):
    """ResNet-18 without classifier and pooling, by default with the CIFAR stem (3x3 stride-1 first convolution, no
    max-pooling).

    Structure and initialisation are torchvision's, with the last norm of each block starting at zero as in
    the paper's code. ``width`` = 64 is the standard network: 512 features, 11.17 M parameters for RGB.
    """

    def __init__(self, config: EncoderConfig, channels: int):
        super().__init__()
        width = config.width
        imagenet = config.stem == "imagenet"
        self.stem = (
            nn.Conv2d(channels, width, 7, 2, 3, bias=False)
            if imagenet
            else nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        )
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

    def stages(self) -> list[nn.Module]:
        """Its four stages of two blocks, the first with the stem."""
        return [_First(self), *(self.blocks[2 * stage : 2 * stage + 2] for stage in (1, 2, 3))]

    def tokens(self, images: Tensor) -> Tensor:
        x = self.pool(self.norm.act(self.stem(images)))
        return self.blocks(x).flatten(2).transpose(1, 2)


class _First(nn.Module):
    """Stem and first stage of a network."""

    def __init__(self, of: ResNet18):
        super().__init__()
        self.stem, self.norm, self.pool, self.blocks = of.stem, of.norm, of.pool, of.blocks[:2]

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pool(self.norm.act(self.stem(x))))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = Conv3x3(inputs, outputs, stride), GlobalBatchNorm(outputs)
        self.conv2, self.norm2 = Conv3x3(outputs, outputs), GlobalBatchNorm(outputs)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = GlobalBatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.norm1.act(self.conv1(x)))
        residual = x if self.shortcut is None else self.shortcut_norm.act(self.shortcut(x), relu=False)
        return self.norm2.act(y, residual)


class Conv3x3(nn.Conv2d):
    """A 3 x 3 convolution with padding 1 and without bias.

    Attributes:
        kernel: computes it in another way (``trainer.fast``), or None.
    """

    kernel: Callable[[Conv3x3, Tensor], Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.kernel is None else self.kernel(self, x)
