"""Which image each draw of an epoch shows, where several sets are mixed by weight.

A pure function of (seed, epoch): there is no loader whose sampler could be replaced, every worker takes its rows of the
same order, and a resumed run needs the number of its step alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.config.mixture import counts
from trainer.data.images import ImageSet
from trainer.data.philox import Purpose, permutation


class Mixture:
    """Every epoch has the same number of images of each set, its weight's share to within one, in random order.

    A set is gone through in a random order of its own, again and again, from one epoch into the next: no image of it is
    shown again before all of it were.

    Attributes:
        draws: of an epoch, full batches only.
    """

    def __init__(self, config: RunConfig, images: ImageSet):
        self._seed = config.seed
        self.draws = config.steps_per_epoch * config.optim.batch_size
        self._pools = [one.splits["pretrain"] for one in images.members.values()]
        self._counts = counts([one.weight for one in config.data.mixture], self.draws)
        self._kept: tuple[int, Tensor] | None = None

    def images(self, epoch: int, order: Tensor) -> Tensor:
        """(draws,) int64, the image of each draw of an epoch whose draws come in ``order``."""
        if self._kept is None or self._kept[0] != epoch:
            ends = torch.tensor(self._counts, device=order.device).cumsum(0)
            of_set = torch.bucketize(order, ends, right=True)
            found = torch.empty_like(order)
            for number, (pool, count) in enumerate(zip(self._pools, self._counts, strict=True)):
                # in the order in which they are shown, as the next images of the set
                found[order[of_set == number]] = self._next(number, pool, epoch * count, count)
            self._kept = (epoch, found)
        return self._kept[1]

    def _next(self, number: int, pool: Tensor, first: int, count: int) -> Tensor:
        """The ``count`` images of a set that come after ``first`` others."""
        place = torch.arange(first, first + count, device=pool.device)
        turn = place // len(pool)
        found = torch.empty_like(place)
        for one in range(first // len(pool), (first + count - 1) // len(pool) + 1):
            shuffled = permutation(self._seed, one, len(pool), pool.device, Purpose.OF_SET, number)
            mine = turn == one
            found[mine] = pool[shuffled[place[mine] % len(pool)]]
        return found
