"""Trees of JPEG files, decoded once into shards."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from trainer.data.sets.raw import damaged
from trainer.data.shards import is_complete, write_shards
from trainer.data.store import MappedImages, open_shards
from trainer.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARD_BYTES = 2**28
ENDINGS = (".jpeg", ".jpg")


def decode(path: Path, stored: int, wanted: int) -> np.ndarray:
    """One image as (3, wanted, wanted) uint8; grey images get three equal channels.

    Args:
        stored: the side in pixels the file must have.
        wanted: if it differs from ``stored`` the image is resized, bicubic with antialiasing.

    Raises:
        UsageError: a file that is missing, damaged or of another size.
    """
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; unpack the archive again") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, error) from error
    if pixels.size != (stored, stored):
        raise damaged(path, f"{pixels.size[0]} x {pixels.size[1]} pixels instead of {stored} x {stored}")
    if wanted != stored:
        pixels = pixels.resize((wanted, wanted), Image.Resampling.BICUBIC)
    return np.asarray(pixels).transpose(2, 0, 1)


def jpeg_names(folder: Path) -> list[str]:
    """Names of the JPEG files of a folder, sorted; without the ``._`` files that macOS leaves beside each.

    Raises:
        UsageError: there are none.
    """
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if Path(entry.name).suffix.lower() in ENDINGS and not entry.name.startswith("._")
    )
    if not names:
        raise UsageError(f"{folder} holds no {', '.join(ENDINGS)} files; unpack the archive again")
    return names


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` in order on all cores, with a bounded number of results waiting."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def sharded(
    folder: Path, decode_one: Callable[[Item], np.ndarray], items: Sequence[Item], shape: tuple[int, ...], source: str
) -> MappedImages:
    """Open the shards of ``items``; first write them if they are absent, incomplete or of another source.

    Args:
        decode_one: item to uint8 image of ``shape``; called from several threads.
        shape: of one item, (C, H, W) or (V, C, H, W).
        source: from ``fingerprint``.
    """
    if not is_complete(folder, source):
        per_shard = max(1, SHARD_BYTES // int(np.prod(shape)))
        write_shards(
            folder, lambda start: in_threads(decode_one, items[start:]), (len(items), *shape), per_shard, source
        )
    return open_shards(folder)


def fingerprint(names: Iterable[str]) -> str:
    """sha256 over a list of files and whatever else the images depend on, in order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()
