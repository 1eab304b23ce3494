"""Views that no action relates: augmented crops of each image, the places they were cut from, and whole images to
measure on.

A batch is a dict:

``views``    list of tensors (B, C, S, S), ``boxes`` (B, V, 4) where they were cut (top, left, height, width in pixels
             of the image) and ``flips`` (B, V) bool
``locals``   list of small crops (B, C, s, s), with ``local_boxes`` and ``local_flips``; empty without multi-crop
``step``     int64 scalar, in training batches
``labels``   (B,) class in the image's own set, -1 for images outside the train split; ``index`` (B,) position in the
             image set
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainer.config import SETS, RunConfig, members
from trainer.config.mixture import channels
from trainer.data import crops, recipes
from trainer.data.epochs import Epochs
from trainer.data.images import ImageSet
from trainer.data.mixing import draw_mixing, mixed
from trainer.data.philox import Purpose, uniforms
from trainer.data.row_chunks import row_chunks
from trainer.data.sources.mixture import Mixture
from trainer.source import Batch

PER_VIEW = crops.CROP_NUMBERS + recipes.NUMBERS


class StandardViews(Epochs):
    """A :class:`trainer.source.Source`; arguments as of :class:`trainer.data.epochs.Epochs`."""

    def __init__(self, config: RunConfig, images: ImageSet, dtype: torch.dtype, rank: int = 0, world: int = 1):
        super().__init__(config, images, dtype, rank, world)
        self._pictures, self._settings = SETS[config.data.name].views, config.data.standard
        self._recipe = recipes.RECIPES[self._settings.recipe]
        self._mixture = Mixture(config, images) if images.members else None
        if self._mixture is not None:
            self._draws = self._mixture.draws
        self._stops = torch.tensor([one.stop for one in images.members.values()], device=self.device)
        self._statistics = self._of_sets() if config.data.normalize == "dataset" else None

    # --- training batches

    def next(self) -> Batch:
        """This worker's share of the next training batch."""
        step, epoch = self.step, self.step // self._config.steps_per_epoch
        draw = self._drawn(step)
        index = self._index(draw, epoch)
        stored = self._ahead.pop(step, None) or self._fetch(step)
        if self._reader is not None:
            self._ahead = {step + 1: self._fetch(step + 1)}
        self.step += 1
        batch = self._rendered(self._mixed(self._floating(stored()), step), draw, epoch, index)
        batch |= {"labels": self._train_labels[index], "index": index}
        batch["step"] = torch.full((), step, dtype=torch.int64, device=self.device)
        return batch

    def _index(self, draw: Tensor, epoch: int) -> Tensor:
        if self._mixture is not None:
            return self._mixture.images(epoch, self._ordered(epoch))[draw]
        pool = self._images.splits["pretrain"]
        return pool[draw % len(pool)]

    def _rows(self, index: Tensor, picture: Tensor) -> Tensor:
        """Rows of the stored pictures, one of each object's."""
        return index * self._pictures + picture

    def _fetch(self, step: int) -> Any:
        """What gives the stored images of this worker's share of a step."""
        draw = self._drawn(step)
        picture, epoch = torch.zeros_like(draw), step // self._config.steps_per_epoch
        if self._pictures > 1:
            u = uniforms(self._config.seed, Purpose.TRAIN_VIEWS, epoch, draw + 2**31, 1)[:, 0]
            picture = (u * self._pictures).long()
        rows = self._rows(self._index(draw, epoch), picture)
        return self._reader.submit(self._read, rows).result if self._reader else lambda: self._images.images[rows]

    def _mixed(self, pixels: Tensor, step: int) -> Tensor:
        """Images mixed with others of the global batch, where that is asked for."""
        settings, batch = self._settings, self._config.optim.batch_size
        if settings.mixup is None and settings.cutmix is None:
            return pixels
        mixing = draw_mixing(self._config.seed, step, batch, settings.mixup, settings.cutmix)
        partner = mixing.partner.to(self.device)[self.rank :: self.world]
        index = self._index(self._of_all(step)[partner], step // self._config.steps_per_epoch)
        others = self._floating(self._images.images[self._rows(index, torch.zeros_like(index))])
        return mixed(mixing, pixels, others)

    def _rendered(self, pixels: Tensor, draw: Tensor, epoch: int, index: Tensor) -> Batch:
        settings, local = self._settings, self._settings.locals
        count = settings.views + (local.count if local else 0)
        u = uniforms(self._config.seed, Purpose.TRAIN_VIEWS, epoch, draw, PER_VIEW * count)
        u = u.view(len(draw), count, PER_VIEW)
        of_views, of_locals = u.split([settings.views, count - settings.views], 1)
        seeds = self._seeds(draw, epoch, count) if self._recipe.library else None
        views, boxes, flips = self._cut(pixels, of_views, settings.crop_scale, self._config.data.canvas, seeds, 0)
        views = [self._normal(view, index) for view in views]
        batch: Batch = {"views": views, "boxes": boxes, "flips": flips, "locals": []}
        if local:
            small, *where = self._cut(pixels, of_locals, local.scale, local.side, seeds, settings.views)
            small = [self._normal(view, index) for view in small]
            batch |= dict(zip(("locals", "local_boxes", "local_flips"), (small, *where), strict=True))
        return batch

    def _cut(
        self, pixels: Tensor, u: Tensor, scale: tuple[float, float] | None, side: int, seeds: Any, first: int
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Views of one size (list of (B, C, side, side)), their boxes (B, V, 4) and flips (B, V)."""
        height, width = pixels.shape[-2:]
        if scale is None:
            boxes = u.new_tensor([0, 0, height, width]).expand(*u.shape[:2], 4)
        else:
            boxes = crops.crop_boxes(u[..., : crops.CROP_NUMBERS], height, width, scale)
        own = u[..., crops.CROP_NUMBERS :]
        flips = recipes.flips(self._recipe, own)
        cut = crops.resized_crop(pixels, boxes.transpose(0, 1), side, flips.T).flatten(0, 1).clamp(0, 1)
        if self._recipe.library:
            cut = recipes.library(cut, [s[first + view] for view in range(u.shape[1]) for s in seeds])
        cut = recipes.coloured(self._recipe, cut, recipes.colours(self._recipe, own.transpose(0, 1).flatten(0, 1)))
        return list(cut.view(u.shape[1], len(pixels), *cut.shape[1:]).unbind(0)), boxes, flips

    def _seeds(self, draw: Tensor, epoch: int, count: int) -> list[list[int]]:
        """A seed per image and view, for what takes a generator."""
        numbers = uniforms(self._config.seed, Purpose.TRAIN_VIEWS, epoch, draw + 2**31, 2 * count)
        pairs = (numbers.double() * 2**24).long().view(len(draw), count, 2)
        return ((pairs[..., 0] << 24) ^ pairs[..., 1]).tolist()

    # --- images to measure on

    def whole(self, index: Tensor) -> Tensor:
        """(n, C, canvas, canvas) images as they are, an object's first picture, normalised as views are."""
        pixels = self._floating(self._images.images[self._rows(index, torch.zeros_like(index))])
        side = self._config.data.canvas
        if pixels.shape[-2:] == (side, side):
            return self._normal(pixels, index)
        box = pixels.new_tensor([0, 0, *pixels.shape[-2:]]).expand(len(pixels), 4)
        flip = torch.zeros(len(pixels), dtype=torch.bool, device=self.device)
        return self._normal(crops.resized_crop(pixels, box, side, flip).clamp(0, 1), index)

    def fixed(self, images: Tensor, size: int = 256) -> Iterator[Tensor]:
        """Whole images of a split (n,), in its order, chunk by chunk."""
        for index in row_chunks(images, size):
            yield self.whole(index)

    def _normal(self, view: Tensor, index: Tensor) -> Tensor:
        """A view of each image of ``index``, by the statistics of the image's own set."""
        if self._statistics is None:
            return view
        of_set = torch.bucketize(index, self._stops, right=True) if len(self._stops) else 0
        return (view - self._statistics[0][of_set]) / self._statistics[1][of_set]

    def _of_sets(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each set's pixels, both (sets, C, 1, 1)."""
        data, rows = self._config.data, []
        for one in members(data):
            row = torch.tensor(SETS[one.name].statistics, dtype=self._dtype, device=self.device)
            rows.append(row.expand(2, channels(data)))
        return tuple(torch.stack(rows)[..., None, None].unbind(1))
