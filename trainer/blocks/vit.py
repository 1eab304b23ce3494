"""A vision transformer that computes the patches it is shown, and no others."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.blocks.faces import Encoder
from trainer.blocks.positions import grid_places
from trainer.blocks.stack import Stack
from trainer.config import EncoderConfig
from trainer.errors import UsageError


class ViT(Encoder):
    """Patches, their places, blocks and a norm; no class token, so that every token is a patch."""

    def __init__(self, config: EncoderConfig, channels: int):
        super().__init__()
        vit = config.vit
        self.features, self.patch = config.features, vit.patch
        self.embed = nn.Conv2d(channels, self.features, vit.patch, vit.patch)
        # as large beside a patch's position as I-JEPA's, which are 0.02 for 16 x 16 pixels of 3 colours: with the same
        # 0.02 for small patches a fresh network would hardly see its image
        nn.init.trunc_normal_(self.embed.weight, std=0.02 * (768 / (channels * vit.patch**2)) ** 0.5)
        nn.init.zeros_(self.embed.bias)
        self.stack = Stack(vit, self.features, vit.depth, vit.heads)

    def grid(self, side: int) -> int:
        """Patches along the side of an image of ``side`` pixels. Raises UsageError if it is not a whole number."""
        if side % self.patch:
            raise UsageError(f"model.encoder.vit.patch = {self.patch} must divide the image's side, {side} pixels")
        return side // self.patch

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """(N, C, S, S) images to (N, n, ``features``) tokens.

        Args:
            keep: (N, n) int64, patches by their number in row order, to compute and return in this order; the others
                are never looked at. Default: all.
        """
        x = self.embed(images).flatten(2).transpose(1, 2)
        placing = self.stack.placing(grid_places(self.grid(images.shape[-1]), images.device), x.dtype)
        x, turned = placing.to(x), placing.turned
        if keep is not None:
            x = x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
            turned = None if turned is None else turned[keep]
        return self.stack(x, turned)
