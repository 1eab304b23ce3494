"""Views that are shown again: from one epoch on every epoch has the sequences of that one, in an order of its own.

What a frozen network makes of them need then be computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainer.data.row_chunks import row_chunks
from trainer.data.views import Views
from trainer.source import Batch, Plan


class Repeated(Views):
    """Training batches also have ``draw`` (B,), the number of a sequence among those of an epoch.

    Attributes:
        first: epoch, from 0, whose sequences all later ones repeat.
        unseen: whether nobody asks for the pixels of training batches any more; they are then empty.
    """

    def __init__(self, *arguments: Any, first: int, **settings: Any):
        self.first, self.unseen, self._blank = first, False, False
        super().__init__(*arguments, **settings)

    def render(self, plan: Plan) -> Batch:
        self._blank = self.unseen
        try:
            return super().render(plan) | {"draw": plan["draw"]}
        finally:
            self._blank = False

    @property
    def sequences(self) -> int:
        """How many there are in an epoch."""
        return len(self._images.splits["pretrain"]) * self._config.data.draws_per_epoch

    def again(self, size: int) -> Iterator[Batch]:
        """The sequences that are repeated, by their number, in batches of ``size``."""
        for draw in row_chunks(torch.arange(self.sequences, device=self.device), size):
            index, parameters = self._parameters(draw, self.first)
            rows = self.transform.rows(index, parameters)
            stored = self._images.images[rows.cpu() if self._elsewhere else rows]
            yield self._batch(index, parameters, stored)

    def _parameters(self, draw: Tensor, epoch: int | Tensor) -> tuple[Tensor, Any]:
        return super()._parameters(draw, min(epoch, self.first))

    def _pixels(self, stored: Tensor, parameters: Any) -> list[Tensor]:
        if self._blank:
            return [stored.new_empty(0)] * (self._config.data.observed_views + 1)
        return super()._pixels(stored, parameters)
