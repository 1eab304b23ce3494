"""A vision transformer that computes the patches it is shown, and no others."""

from __future__ import annotations

from torch import Tensor

from trainer.blocks.patches import PatchEncoder, kept
from trainer.blocks.positions import grid_places
from trainer.blocks.stack import Stack
from trainer.config import EncoderConfig


class ViT(PatchEncoder):
    """Patches, their places, blocks and a norm; no class token, so that every token is a patch."""

    def __init__(self, config: EncoderConfig, channels: int):
        vit = config.vit
        super().__init__(config.features, channels, vit.patch)
        self.stack = Stack(vit, self.features, vit.depth, vit.heads)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        x = self.embedded(images)
        placing = self.stack.placing(grid_places(images.shape[-1] // self.patch, images.device), x.dtype)
        turned = placing.turned
        if keep is not None and turned is not None:
            turned = turned[keep]
        return self.stack(kept(placing.to(x), keep), turned)
