"""Training images drawn epoch by epoch in a fixed random order: what every source of views has in common."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.images import ImageSet
from trainer.data.philox import permutation
from trainer.data.store import MappedImages


class Epochs:
    """Every batch is a function of (seed, step); ``state_dict`` holds only the step.

    Args:
        images: the image set on the training device.
        rank, world: this worker renders rows ``rank::world`` of every global batch.
    """

    def __init__(self, config: RunConfig, images: ImageSet, dtype: torch.dtype, rank: int, world: int):
        self._config, self._images, self._dtype = config, images, dtype
        self.rank, self.world, self.step = rank, world, 0
        self.device = images.labels.device
        self._draws = len(images.splits["pretrain"]) * config.data.draws_per_epoch
        self._order: tuple[int, Tensor] | None = None
        stored = images.images
        self._elsewhere = isinstance(stored, MappedImages) or stored.device != self.device
        self._reader = ThreadPoolExecutor(1) if self._elsewhere else None
        self._ahead: dict[int, Any] = {}
        # probes beside the model learn from train labels only, also where pre-training sees other images
        self._train_labels = torch.full_like(images.labels, -1)
        for one in images.members.values() or (images,):
            train = one.splits["train"]
            self._train_labels[train] = images.labels[train]

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self._ahead = state["step"], {}

    def _drawn(self, step: int) -> Tensor:
        """The draws of this worker's share of a step."""
        return self._of_all(step)[self.rank :: self.world]

    def _of_all(self, step: int) -> Tensor:
        """Draws (B,) of the global batch of a step; a draw keeps its random numbers wherever the order puts it."""
        epoch, position = divmod(step, self._config.steps_per_epoch)
        size = self._config.optim.batch_size
        return self._ordered(epoch)[position * size : (position + 1) * size]

    def _ordered(self, epoch: int) -> Tensor:
        """All draws of an epoch, in their order."""
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, permutation(self._config.seed, epoch, self._draws, self.device))
        return self._order[1]

    def _read(self, rows: Tensor) -> Tensor:
        # in the reader's thread: only that thread waits for the rows to come from the device
        stored = self._images.images[rows.cpu()]
        return stored.pin_memory() if self.device.type == "cuda" else stored

    def _floating(self, stored: Tensor) -> Tensor:
        return stored.to(self.device, non_blocking=True).to(self._dtype) / 255
