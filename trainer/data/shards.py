"""Images on disk: a folder of shards.

``shard_00000.npy`` ... hold whole images, uint8, and ``manifest.json`` the shape, the identity of the source, and
per shard its number of images, size in bytes and sha256. Both are replaced atomically, shard first, so a kill
costs at most the shard being written.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.sets.places import make_folder
from trainer.data.told import told
from trainer.errors import UsageError
from trainer.record.run import write_json

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
        UsageError: the folder cannot be written.
    """
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard = {images_per_shard} must be at least 1")
    make_folder(folder)
    plan = {"version": VERSION, "dtype": "uint8", "shape": list(shape), "source": source}
    plan["images_per_shard"] = images_per_shard
    with _locked(folder):
        manifest = _manifest(folder) or {}
        shards = manifest.get("shards", []) if {key: manifest.get(key) for key in plan} == plan else []
        shards = shards[: next((k for k, entry in enumerate(shards) if _fault(folder, k, entry, shape)), len(shards))]
        for path in folder.glob("shard_*"):
            if path.name not in {_name(k) for k in range(len(shards))}:
                path.unlink()
        done = sum(entry["images"] for entry in shards)
        write_json(folder / "manifest.json", {**plan, "shards": shards})
        stream = told(images_from(done), shape[0], f"{folder}: written", done) if done < shape[0] else iter(())
        while done < shape[0]:
            count = min(images_per_shard, shape[0] - done)
            shards.append(_write_shard(folder / _name(len(shards)), stream, (count, *shape[1:]), done))
            write_json(folder / "manifest.json", {**plan, "shards": shards})
            done += count
        if next(stream, None) is not None:
            raise ValueError(f"{folder}: more images follow the {shape[0]} announced")


def is_complete(folder: Path, source: str = "") -> bool:
    """Whether ``folder`` holds all shards made from this source."""
    manifest = _manifest(folder)
    return (
        bool(manifest) and manifest["version"] == VERSION and manifest["source"] == source and _missing(manifest) == 0
    )


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a complete folder in order; sizes and headers are checked, contents are not read.

    Raises:
        UsageError: no manifest, another version, incomplete, or a shard that is missing or damaged.
    """
    again = f"remove {folder} to have it written again"
    manifest = _manifest(folder)
    if not manifest:
        raise UsageError(f"{folder} holds no readable manifest.json of image shards; {again}")
    if manifest["version"] != VERSION:
        raise UsageError(f"{folder} is written in version {manifest['version']!r}, this code reads {VERSION}; {again}")
    if missing := _missing(manifest):
        raise UsageError(f"{folder} is incomplete, {missing:,} of {manifest['shape'][0]:,} images are missing; {again}")
    for number, entry in enumerate(manifest["shards"]):
        if fault := _fault(folder, number, entry, tuple(manifest["shape"])):
            raise UsageError(f"{folder / _name(number)} {fault}; {again}")
    return [folder / _name(number) for number in range(len(manifest["shards"]))]


def verify_shards(folder: Path) -> None:
    """Read every shard and compare its sha256 with the manifest.

    Raises:
        UsageError: naming the first shard that differs.
    """
    paths = shard_paths(folder)
    for path, entry in zip(paths, _manifest(folder)["shards"], strict=True):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise UsageError(f"{path} has changed since it was written; remove {folder} to have it written again")


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
    same = header.shape == expected and header.dtype == np.uint8
    return None if same else f"holds {header.dtype} {header.shape}, not uint8 {expected}"


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
