"""A stack of pre-norm transformer blocks over patches at given places; encoders and predictors are made of it.

The block is timm's (``EvaBlock``): it takes rotary angles per sample, has LayerScale and stochastic depth as options of
its own, and computes attention by torch's fused kernels.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from timm.models.eva import EvaBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.blocks.attention import kernel, measuring
from trainer.blocks.positions import rotary, sincos
from trainer.config.vit import VitConfig

NORM = partial(nn.LayerNorm, eps=1e-6)


class Placing(NamedTuple):
    """Of tokens, which their number of rows is the last but one axis of.

    Attributes:
        added: (..., n, width) what is added to them, or None.
        turned: (..., n, 2 x head width) what turns their queries and keys, or None.
    """

    added: Tensor | None
    turned: Tensor | None

    def of(self, index: Tensor) -> Placing:
        """That of tokens by number, from that of a whole grid; (...) int64 to (..., width)."""
        return Placing(*(None if one is None else one[index] for one in self))

    def before(self, other: Placing) -> Placing:
        """That of tokens followed by others."""
        return Placing(*(None if a is None else torch.cat([a, b], -2) for a, b in zip(self, other, strict=True)))

    def to(self, tokens: Tensor) -> Tensor:
        return tokens if self.added is None else tokens + self.added


class Stack(nn.Module):
    """Blocks and the norm behind them.

    Args:
        settings: kernel, checkpointing, kind of positions and ratio of the hidden width.
        residual: also LayerScale and stochastic depth.
    """

    def __init__(self, settings: VitConfig, width: int, depth: int, heads: int, residual: bool = True):
        super().__init__()
        self.settings, self.width, self._head = settings, width, width // heads
        drop = [settings.drop_path * i / max(1, depth - 1) if residual else 0.0 for i in range(depth)]
        self.blocks = nn.ModuleList(
            EvaBlock(
                width,
                heads,
                mlp_ratio=settings.mlp_ratio,
                num_prefix_tokens=0,
                drop_path=drop[i],
                init_values=settings.layer_scale if residual else None,
                norm_layer=NORM,
            )
            for i in range(depth)
        )
        self.norm = NORM(width)
        initialise(self)
        with torch.no_grad():
            for number, block in enumerate(self.blocks, start=1):
                block.attn.fused_attn = True  # an environment variable of timm could have switched it off
                for layer in (block.attn.proj, block.mlp.fc2):
                    layer.weight.div_((2 * number) ** 0.5)

    def placing(self, places: Tensor, dtype: torch.dtype) -> Placing:
        """What tells tokens at (..., 2) places where they are."""
        if self.settings.positions == "rope":
            return Placing(None, rotary(places, self._head).to(dtype))
        return Placing(sincos(places, self.width).to(dtype), None)

    def forward(self, x: Tensor, turned: Tensor | None) -> Tensor:
        """(B, n, width) of tokens that know their places, and what turns them, (B, n, ...) or (n, ...)."""
        if turned is not None and turned.ndim == 3:
            turned = turned[:, None]
        again = self.settings.checkpointing and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            run = partial(self._block, block)
            x = checkpoint(run, x, turned, use_reentrant=False) if again else run(x, turned)
        return self.norm(x)

    def _block(self, block: nn.Module, x: Tensor, turned: Tensor | None) -> Tensor:
        # inside: what is computed again in the backward pass must choose the same kernel
        named = self.settings.attention
        with kernel(named if self.training else measuring(named, x.device.type)):
            return block(x, rope=turned)


def initialise(module: nn.Module) -> None:
    """Truncated normal weights of standard deviation 0.02, no biases (as I-JEPA does)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
