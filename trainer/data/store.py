"""Images that training reads by index: resident in memory, or memory-mapped from shards on disk.

Both kinds have one contract: ``shape`` (N, ...), ``images[index]`` for a 1-D int64 index, ``prefetch`` of
index batches to a device, and ``merged()`` which numbers the views of all objects in one sequence. The same
index gives the same bits from either kind.

A folder of shards holds ``shard_00000.npy`` ... (uint8, whole images) and ``manifest.json`` with the shape,
the identity of the source, and per shard its number of images, size in bytes and sha256. Both are replaced
atomically, shard first, so a kill costs at most the shard being written.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.prefetch import load_ahead
from trainer.errors import UsageError
from trainer.records import write_json

VERSION = 1


def write_shards(
    folder: Path,
    images_from: Callable[[int], Iterator[np.ndarray]],
    shape: tuple[int, ...],
    images_per_shard: int,
    source: str = "",
) -> None:
    """Write N images into shards, holding one image at a time in memory; continue where an earlier call stopped.

    A process that finds another one writing the folder waits for it and then finds the work done.

    Args:
        images_from: called once with the first missing image's number; yields the images from there on in
            order, each uint8 of shape ``shape[1:]``.
        shape: (N, ...) of all images together.
        source: identity of what the images were made from; shards of another identity are written anew.

    Raises:
        ValueError: an image of another shape or type, or another number of images than N.
    """
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard = {images_per_shard} must be at least 1")
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"version": VERSION, "dtype": "uint8", "shape": list(shape), "images_per_shard": images_per_shard, "source": source}
    with _locked(folder):
        manifest = _manifest(folder) or {}
        shards = manifest.get("shards", []) if {key: manifest.get(key) for key in plan} == plan else []
        shards = shards[: next((k for k, entry in enumerate(shards) if _fault(folder, k, entry, shape)), len(shards))]
        for path in folder.glob("shard_*"):
            if path.name not in {_name(k) for k in range(len(shards))}:
                path.unlink()
        done = sum(entry["images"] for entry in shards)
        write_json(folder / "manifest.json", {**plan, "shards": shards})
        stream = images_from(done) if done < shape[0] else iter(())
        spoke = time.monotonic()
        while done < shape[0]:
            count = min(images_per_shard, shape[0] - done)
            shards.append(_write_shard(folder / _name(len(shards)), stream, (count, *shape[1:]), done))
            write_json(folder / "manifest.json", {**plan, "shards": shards})
            done += count
            if time.monotonic() - spoke > 10:
                print(f"{folder}: {done:,} of {shape[0]:,} written", file=sys.stderr)
                spoke = time.monotonic()
        if next(stream, None) is not None:
            raise ValueError(f"{folder}: more images follow the {shape[0]} announced")


def is_complete(folder: Path, source: str = "") -> bool:
    """Whether ``folder`` holds all shards made from this source."""
    manifest = _manifest(folder)
    return bool(manifest) and manifest.get("version") == VERSION and manifest["source"] == source and _missing(manifest) == 0


def open_shards(folder: Path) -> MappedImages:
    """Map a complete folder of shards; sizes and headers are checked, contents are not read.

    Raises:
        UsageError: no manifest, another version, incomplete, or a shard that is missing or damaged.
    """
    again = f"remove {folder} to have it written again"
    manifest = _manifest(folder)
    if not manifest:
        raise UsageError(f"{folder} holds no readable manifest.json of image shards; {again}")
    if manifest.get("version") != VERSION:
        raise UsageError(f"{folder} is written in version {manifest.get('version')!r}, this code reads {VERSION}; {again}")
    if missing := _missing(manifest):
        raise UsageError(f"{folder} is incomplete, {missing:,} of {manifest['shape'][0]:,} images are missing; {again}")
    shape = tuple(manifest["shape"])
    for number, entry in enumerate(manifest["shards"]):
        if fault := _fault(folder, number, entry, shape):
            raise UsageError(f"{folder / _name(number)} {fault}; {again}")
    arrays = [np.load(folder / _name(number), mmap_mode="r") for number in range(len(manifest["shards"]))]
    return MappedImages(arrays)


def verify_shards(folder: Path) -> None:
    """Read every shard and compare its sha256 with the manifest.

    Raises:
        UsageError: naming the first shard that differs.
    """
    open_shards(folder)
    for number, entry in enumerate(_manifest(folder)["shards"]):
        with (folder / _name(number)).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise UsageError(f"{folder / _name(number)} has changed since it was written; remove {folder} to have it written again")


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
        """(n, ...) uint8 on the CPU for a 1-D int64 index; read in the order of the disk, returned in the order asked."""
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
        """A copy in the device's memory, made shard by shard."""
        result = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for array, end in zip(self._arrays, self._ends, strict=True):
            result[end - len(array) : end] = torch.from_numpy(np.array(array)).to(device)
        return ResidentImages(result)


class ResidentImages:
    """uint8 images held in one tensor, on any device."""

    def __init__(self, tensor: Tensor):
        self.tensor, self.shape = tensor, tensor.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, ...) uint8 on the tensor's device for a 1-D int64 index on any device."""
        return self.tensor[_checked(index, len(self)).to(self.tensor.device)]

    def merged(self) -> ResidentImages:
        """(N, V, ...) seen as (N * V, ...): view v of object i is number i * V + v."""
        return ResidentImages(self.tensor.flatten(0, 1))

    def prefetch(self, batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """``self[index]`` on ``device`` for each index batch; read ahead only if the images live elsewhere."""
        if self.tensor.device == torch.empty(0, device=device).device:
            return (self[index] for index in batches)
        return load_ahead(self.__getitem__, batches, device)


def place(images: Tensor | MappedImages, device: torch.device, budget_bytes: int) -> ResidentImages | MappedImages:
    """Copy images to the device if all of them fit the budget, otherwise leave them where they are.

    Args:
        images: uint8; a tensor that does not fit stays in its own memory and is sent batch by batch.
        budget_bytes: memory of ``device`` the images may take.
    """
    if math.prod(images.shape) > budget_bytes:
        return ResidentImages(images) if isinstance(images, Tensor) else images
    return ResidentImages(images.to(device)) if isinstance(images, Tensor) else images.resident(device)


def _checked(index: Tensor, size: int) -> Tensor:
    if index.ndim != 1 or index.dtype != torch.int64:
        raise TypeError(f"an index must be 1-D int64, not {tuple(index.shape)} {index.dtype}")
    # on an accelerator the bounds are left to the device's own check: reading them would stall it
    if index.device.type == "cpu" and len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        raise IndexError(f"index {int(index.min())}..{int(index.max())} leaves the {size} images")
    return index


def _name(number: int) -> str:
    return f"shard_{number:05d}.npy"


def _missing(manifest: dict[str, Any]) -> int:
    return manifest["shape"][0] - sum(entry["images"] for entry in manifest["shards"])


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / "manifest.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) and {"version", "shape", "source", "shards"} <= content.keys() else None


def _fault(folder: Path, number: int, entry: dict[str, Any], shape: tuple[int, ...]) -> str | None:
    """What is wrong with a shard, from its size and header."""
    path = folder / _name(number)
    if not path.exists():
        return "is missing"
    if path.stat().st_size != entry["bytes"]:
        return f"has {path.stat().st_size:,} bytes instead of {entry['bytes']:,}"
    try:
        header = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        return f"is damaged ({error})"
    expected = (entry["images"], *shape[1:])
    return None if header.shape == expected and header.dtype == np.uint8 else f"holds {header.dtype} {header.shape}, not uint8 {expected}"


def _write_shard(path: Path, stream: Iterator[np.ndarray], shape: tuple[int, ...], first: int) -> dict[str, Any]:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    digest = hashlib.sha256(header.getvalue())
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(header.getvalue())
        for number in range(first, first + shape[0]):
            image = next(stream, None)
            if image is None:
                raise ValueError(f"{path.parent}: the images end before number {number}")
            if image.shape != shape[1:] or image.dtype != np.uint8:
                raise ValueError(f"{path.parent}: image {number} is {image.dtype} {image.shape}, not uint8 {shape[1:]}")
            data = np.ascontiguousarray(image).data
            file.write(data)
            digest.update(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return {"images": shape[0], "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; the system drops the lock when its holder dies."""
    with (folder / "writing.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
