"""Which patches a batch shows and which it has to predict, as a function of (seed, step).

Sizes are drawn once for a batch, places for each image; every image shows the same number of patches, so that batches
are rectangular and hidden patches are never computed. Masks are drawn for the global batch, whatever share of it a
worker trains on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.blocks.positions import grid_places
from trainer.data.philox import Purpose, uniforms
from trainer.families.h_jepa.config import MaskConfig, block_size

TRIES = 20
"""Places tried for a context block before one target less is kept out of it."""


@dataclass(frozen=True)
class Level:
    """What is predicted at one level.

    Attributes:
        cells: (B, M, n) int64, the cells of each target block by their number in row order.
        valid: (B, M, n) bool, whether at least half of a cell's patches are hidden.
        count: valid cells of the global batch, over the workers: what sums are divided by.
        hidden: (B, cells) bool, the same of all cells of the level.
        hidden_count: their number in the global batch, over the workers.
    """

    cells: Tensor
    valid: Tensor
    count: float
    hidden: Tensor
    hidden_count: float


@dataclass(frozen=True)
class Masks:
    """Of the images of a batch.

    Attributes:
        shown: (B, K) int64, sorted, patches that the encoder sees.
        left_out: (B, N - K) int64, sorted, all others.
    """

    shown: Tensor
    left_out: Tensor
    levels: list[Level]

    def to(self, device: torch.device) -> Masks:
        levels = [
            Level(one.cells.to(device), one.valid.to(device), one.count, one.hidden.to(device), one.hidden_count)
            for one in self.levels
        ]
        return Masks(self.shown.to(device), self.left_out.to(device), levels)


def draw_masks(
    config: MaskConfig, grid: int, levels: int, batch: int, seed: int, step: int, view: int = 0, world: int = 1
) -> Masks:
    """Masks of a global batch, on the CPU.

    Args:
        grid: patches along a side.
        view: tells the views of a step apart.
        world: workers that share the batch.
    """
    published = config.placement == "published"
    draws = _Draws(seed, step, view, batch)
    size_u = draws.of_batch(1 + levels)
    blocks = []
    for level in range(levels):
        side = level_side(grid, level)
        scale = tuple(min(1.0, share * 2**level) for share in config.target_scale)
        size = block_size(size_u[1 + level], side, scale, config.aspect, side - published)
        u = draws.of_images(config.targets * 2, 1 + level).view(batch, config.targets, 2)
        blocks.append(_block(u, size, side, published))
    shown = _context(config, grid, blocks[0], size_u[0], draws)
    shown = _cut(shown, draws.of_images(grid * grid, 0) if not published else None)
    visible = torch.zeros(batch, grid * grid, dtype=torch.bool).scatter_(1, shown, True)
    left_out = (~visible).nonzero()[:, 1].view(batch, -1)
    found = []
    for level, inside in enumerate(blocks):
        share = F.avg_pool2d((~visible).double().view(batch, 1, grid, grid), 2**level, **CEIL).flatten(1)
        hidden = share >= 0.5
        cells = inside.flatten(2).nonzero()[:, 2].view(batch, config.targets, -1)
        # at the level of patches a block is predicted as a whole, also where shown patches had to be let in
        valid = hidden[:, None].expand(-1, config.targets, -1).gather(2, cells) if level else torch.ones_like(cells) > 0
        counts = (max(1.0, float(part.sum())) / world for part in (valid, hidden))
        found.append(Level(cells, valid, next(counts), hidden, next(counts)))
    return Masks(shown, left_out, found)


def share_of(masks: Masks, rank: int, world: int) -> Masks:
    """The rows of one worker."""
    rows = slice(rank, None, world)
    levels = [
        Level(one.cells[rows], one.valid[rows], one.count, one.hidden[rows], one.hidden_count) for one in masks.levels
    ]
    return Masks(masks.shown[rows], masks.left_out[rows], levels)


CEIL = {"ceil_mode": True, "count_include_pad": False}
"""How cells at the edge of an odd grid are pooled: over the patches there are."""


def level_side(grid: int, level: int) -> int:
    """Cells along the side of a level."""
    return -(-grid // 2**level)


def level_places(grid: int, level: int, device: torch.device) -> Tensor:
    """(cells, 2) the centre of each cell of a level, in patches."""
    places = grid_places(grid, device)
    if level == 0:
        return places
    return F.avg_pool2d(places.T.reshape(2, 1, grid, grid), 2**level, **CEIL).flatten(1).T


class _Draws:
    """Random numbers of one batch; no two uses share one."""

    def __init__(self, seed: int, step: int, view: int, batch: int):
        self._of = lambda index, count: uniforms(seed, Purpose.MASKS, step, index, count)
        self._rows, self._first = torch.arange(batch), view << 27

    def of_batch(self, count: int) -> list[float]:
        return self._of(torch.tensor([self._first | 2**31]), count)[0].tolist()

    def of_images(self, count: int, use: int) -> Tensor:
        """(batch, count); ``use`` below 1,024."""
        return self._of(self._rows | use << 17 | self._first, count)


def _block(u: Tensor, size: tuple[int, int], side: int, published: bool) -> Tensor:
    """(..., side, side) bool, blocks placed by (..., 2) uniforms."""
    line = torch.arange(side)
    inside = []
    for axis in (0, 1):
        # published: the last place is left out, as the upper end of a range of whole numbers was
        places = max(1, side - size[axis] + (not published))
        start = (u[..., axis] * places).floor().clamp_max(places - 1)[..., None]
        inside.append((line >= start) & (line < start + size[axis]))
    return inside[0][..., :, None] & inside[1][..., None, :]


def _context(config: MaskConfig, grid: int, targets: Tensor, u: float, draws: _Draws) -> Tensor:
    """(batch, grid^2) bool: a block without the targets, more than ``min_keep`` patches of it.

    Where no place leaves that many, one target after the other may be shown as well.
    """
    published = config.placement == "published"
    size = block_size(u, grid, config.context_scale, (1.0, 1.0), grid - published)
    shown = torch.zeros(len(targets), grid, grid, dtype=torch.bool)
    waiting = torch.arange(len(targets))
    for attempt in range(TRIES * (config.targets + 1)):
        block = _block(draws.of_images(2, 64 + attempt)[waiting], size, grid, published)
        shown[waiting] = block & ~targets[waiting, : config.targets - attempt // TRIES].any(1)
        waiting = waiting[shown[waiting].flatten(1).sum(1) <= config.min_keep]
        if not len(waiting):
            break
    return shown.flatten(1)


def _cut(shown: Tensor, order: Tensor | None) -> Tensor:
    """(batch, K) the patches of each image, K the fewest that one has; which are left out is decided by ``order``
    (batch, patches), default by their place in rows."""
    count = int(shown.sum(1).min())
    if order is None:
        order = torch.arange(shown.shape[1], dtype=torch.float32).expand(shown.shape)
        order = order / shown.shape[1]
    chosen = torch.where(shown, order, 2.0).argsort(dim=1, stable=True)[:, :count]
    return chosen.sort(1).values
