"""Batches: views without actions, and what of each is shown."""

from __future__ import annotations

import torch

from trainer.data.images import ImageSet
from trainer.data.standard import StandardViews
from trainer.families.h_jepa.config import HJEPAConfig
from trainer.families.h_jepa.masks import Masks, draw_masks, share_of
from trainer.source import Batch


class MaskedViews(StandardViews):
    """Adds ``masks``, one :class:`Masks` per view, to a batch; like the views a function of (seed, step)."""

    def __init__(self, config: HJEPAConfig, images: ImageSet, dtype: torch.dtype, rank: int = 0, world: int = 1):
        super().__init__(config, images, dtype, rank, world)
        self._run = config

    def next(self) -> Batch:
        step = self.step
        batch = super().next()
        batch["masks"] = self.masks(self._run.seed, step, self._run.optim.batch_size)
        return batch

    def masks(self, seed: int, step: int, batch: int) -> list[Masks]:
        """This worker's share of the masks of a global batch, per view."""
        run = self._run
        found = []
        for view in range(run.data.standard.views):
            drawn = draw_masks(
                run.model.masks, run.grid, run.model.levels, batch, seed, step, view=view, world=self.world
            )
            found.append(share_of(drawn, self.rank, self.world).to(self.device))
        return found
