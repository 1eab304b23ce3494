"""Images that training reads by index: resident in memory, or memory-mapped from shards on disk.

Both kinds have one contract: ``shape`` (N, ...), ``images[index]`` for a 1-D int64 index, ``prefetch`` of
index batches to a device, and ``merged()`` which numbers the views of all objects in one sequence. The same
index gives the same bits from either kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.prefetch import load_ahead
from trainer.data.shards import shard_paths


def open_shards(folder: Path) -> MappedImages:
    """Map a complete folder of shards; raises UsageError as :func:`trainer.data.shards.shard_paths`."""
    return MappedImages([np.load(path, mmap_mode="r") for path in shard_paths(folder)])


class MappedImages:
    """uint8 images in memory-mapped arrays; only what is indexed is read.

    Args:
        arrays: each (n_k, ...), together N images in order.
    """

    def __init__(self, arrays: list[np.ndarray]):
        self._arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape = torch.Size((int(self._ends[-1]), *arrays[0].shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, ...) uint8 on the CPU for a 1-D int64 index; read in the disk's order, returned in the order asked."""
        wanted = _checked(index, len(self)).cpu().numpy()
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        result = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        bounds = np.searchsorted(ordered, np.concatenate([[0], self._ends]))
        for array, end, low, high in zip(self._arrays, self._ends, bounds[:-1], bounds[1:], strict=True):
            if low < high:
                result[order[low:high]] = array[ordered[low:high] - (end - len(array))]
        return torch.from_numpy(result)

    def merged(self) -> MappedImages:
        """(N, V, ...) seen as (N * V, ...): view v of object i is number i * V + v."""
        return MappedImages([array.reshape(-1, *array.shape[2:]) for array in self._arrays])

    def prefetch(self, batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """``self[index]`` on ``device`` for each index batch, read ahead of use by one background thread."""
        return load_ahead(self.__getitem__, batches, device)

    def resident(self, device: torch.device) -> ResidentImages:
        """A copy in the device's memory, made some at a time."""
        result = torch.empty(self.shape, dtype=torch.uint8, device=device)
        at_once = max(1, 2**26 // max(1, math.prod(self.shape[1:])))
        for array, end in zip(self._arrays, self._ends, strict=True):
            for low in range(0, len(array), at_once):
                part = np.ascontiguousarray(array[low : low + at_once])
                start = int(end) - len(array) + low
                result[start : start + len(part)] = torch.from_numpy(part if part.flags.writeable else part.copy()).to(
                    device
                )
        return ResidentImages(result)


class ResidentImages:
    """uint8 images held in one tensor, on any device.

    The tensor may be shared with other trials, so only copies of its rows are handed out.

    Attributes:
        device: where the images are.
    """

    def __init__(self, tensor: Tensor):
        self._tensor, self.shape, self.device = tensor, tensor.shape, tensor.device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, ...) uint8 on the tensor's device for a 1-D int64 index on any device."""
        return self._tensor[_checked(index, len(self)).to(self.device)]

    def merged(self) -> ResidentImages:
        """(N, V, ...) seen as (N * V, ...): view v of object i is number i * V + v."""
        return ResidentImages(self._tensor.flatten(0, 1))

    def to(self, device: torch.device) -> ResidentImages:
        """The images in the memory of ``device``; themselves if they are there."""
        return self if self.device == _exact(device) else ResidentImages(self._tensor.to(device))

    def prefetch(self, batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """``self[index]`` on ``device`` for each index batch; read ahead only if the images live elsewhere."""
        if self.device == _exact(device):
            return (self[index] for index in batches)
        return load_ahead(self.__getitem__, batches, device)


def place(
    images: Tensor | ResidentImages | MappedImages, device: torch.device, budget_bytes: int
) -> ResidentImages | MappedImages:
    """Copy images to the device if all of them fit the budget, otherwise leave them where they are.

    Args:
        images: uint8; those in memory that do not fit stay in their own memory and are sent batch by batch.
        budget_bytes: memory of ``device`` the images may take.
    """
    if isinstance(images, Tensor):
        images = ResidentImages(images)
    if math.prod(images.shape) > budget_bytes:
        return images
    return images.to(device) if isinstance(images, ResidentImages) else images.resident(device)


def _exact(device: torch.device) -> torch.device:
    """``cuda`` is ``cuda:0`` or another one; only a tensor knows."""
    return torch.empty(0, device=device).device


def _checked(index: Tensor, size: int) -> Tensor:
    if index.ndim != 1 or index.dtype != torch.int64:
        raise TypeError(f"an index must be 1-D int64, not {tuple(index.shape)} {index.dtype}")
    # on an accelerator the bounds are left to the device's own check: reading them would stall it
    if index.device.type == "cpu" and len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        raise IndexError(f"index {int(index.min())}..{int(index.max())} leaves the {size} images")
    return index
