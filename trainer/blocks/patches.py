"""Encoders whose tokens are square patches, told where they are."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from trainer.blocks.faces import Encoder


class PatchEncoder(Encoder):
    """Images to embedded patches; what is computed of these is the encoder's own.

    Args:
        patch: side in pixels.
    """

    def __init__(self, features: int, channels: int, patch: int):
        super().__init__()
        self.features, self.patch = features, patch
        self.embed = nn.Conv2d(channels, features, patch, patch)
        # as large beside a patch's position as I-JEPA's, which are 0.02 for 16 x 16 pixels of 3 colours: with the same
        # 0.02 for small patches a fresh network would hardly see its image
        nn.init.trunc_normal_(self.embed.weight, std=0.02 * (768 / (channels * patch**2)) ** 0.5)
        nn.init.zeros_(self.embed.bias)

    def embedded(self, images: Tensor) -> Tensor:
        """(N, C, S, S) images to (N, n, ``features``) patches in row order, without their places."""
        return self.embed(images).flatten(2).transpose(1, 2)

    @abstractmethod
    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """(N, C, S, S) images to (N, n, ``features``) tokens.

        Args:
            keep: (N, n) int64, patches by their number in row order, to compute and return in this order; the others
                are never looked at. Default: all.
        """


def kept(x: Tensor, keep: Tensor | None) -> Tensor:
    """The rows (N, k, d) of x (N, n, d) that ``keep`` (N, k) names; all of them for None."""
    return x if keep is None else x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
