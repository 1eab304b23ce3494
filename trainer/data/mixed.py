"""Images of several sets under one numbering, brought to one shape as they are read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.data.crops import resized_crop
from trainer.data.store import MappedImages, ResidentImages, place


class MixedImages:
    """The images of ``parts`` one set after the other, (N, C, S, S) uint8: C is 3 if any set has colours, S the side of
    the largest set.

    Each set is kept as it is, so that it takes no more memory than alone; what is read of it is enlarged by
    anti-aliased bicubic interpolation and rounded, and grey is repeated. Images of the largest set are untouched.

    Attributes:
        shape: of all images together; ``bytes``: what the sets take.
        device: where the images are; None if some are read from disk.
    """

    def __init__(self, parts: list[ResidentImages | MappedImages]):
        self._parts = parts
        self._starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        shapes = [part.shape[1:] for part in parts]
        self.shape = torch.Size((int(self._starts[-1]), max(s[0] for s in shapes), *[max(s[1] for s in shapes)] * 2))
        self.bytes = sum(math.prod(part.shape) for part in parts)
        resident = all(isinstance(part, ResidentImages) for part in parts)
        self.device = parts[0].device if resident else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, C, S, S) uint8 where the images are, or on the CPU, for a 1-D int64 index on any device."""
        index = index.to(self.device or "cpu")
        result = torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8, device=index.device)
        for part, start, end in zip(self._parts, self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True):
            rows = ((index >= start) & (index < end)).nonzero().squeeze(1)
            if len(rows):
                result[rows] = self._shaped(part[index[rows] - start])
        return result

    def placed(self, device: torch.device, budget_bytes: int) -> MixedImages:
        """Copied to the device if all sets together fit the budget; as :func:`trainer.data.store.place`."""
        if self.bytes > budget_bytes:
            return self
        return MixedImages([place(part, device, budget_bytes) for part in self._parts])

    def _shaped(self, stored: Tensor) -> Tensor:
        side = self.shape[-1]
        if stored.shape[-1] != side:
            box = torch.tensor([0.0, 0.0, *stored.shape[-2:]], device=stored.device).expand(len(stored), 4)
            flip = torch.zeros(len(stored), dtype=torch.bool, device=stored.device)
            stored = resized_crop(stored.float(), box, side, flip).round().clamp(0, 255).to(torch.uint8)
        return stored.expand(-1, self.shape[1], -1, -1)
