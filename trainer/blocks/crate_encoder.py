"""CRATE as an encoder of images: white-box blocks over patches."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.blocks.patches import PatchEncoder, kept
from trainer.blocks.positions import grid_places, sincos
from trainer.blocks.white_box import crate_alpha_block, crate_block
from trainer.config import EncoderConfig


class CrateEncoder(PatchEncoder):
    """encoder.name=crate; settings ``model.encoder.crate``: patches, their places, blocks and a norm.

    As in the authors' code the norm reads the last block's sparse code, so that the tokens have either sign. There is
    no class token: every token is a patch.
    """

    def __init__(self, config: EncoderConfig, channels: int):
        settings = config.crate
        super().__init__(config.features, channels, settings.patch)
        block = crate_alpha_block if settings.dictionary == "overcomplete" else crate_block
        chosen = settings.model_dump(exclude={"patch", "depth", "heads", "dictionary"}, exclude_none=True)
        self.layers = nn.ModuleList(block(self.features, settings.heads, **chosen) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(self.features)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        x = self.embedded(images)
        x = kept(x + sincos(grid_places(images.shape[-1] // self.patch, images.device), self.features).to(x), keep)
        for layer in self.layers:
            x, _ = layer(x)
        return self.norm(x)
