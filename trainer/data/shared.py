"""One copy of an image set per node, shared by all processes of a study.

The first process that needs a set decodes it and writes it to a file on the node's own disk; every process, the first
included, then maps that file read-only. The system keeps a mapped file's pages once, however many processes map it.

A write cannot reach another trial: the images are handed out as indexed copies only, and behind them the pages are
protected, so writing into what is mapped (images, extras) kills the process that tries (SIGSEGV). Labels and splits are
small and private to each process. On CUDA each process still copies the images to its device once: device memory is not
shared.

Files are in ``<temporary folder>/seq-jepa-images-<user id>`` (``TMPDIR`` moves it), one per set and settings, and serve
later studies too. One that nobody opened for a week is removed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import math
import os
import shutil
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.images import ImageSet, load_images
from trainer.data.joined import join
from trainer.data.shared_key import lock_name, set_name
from trainer.data.store import MappedImages, ResidentImages

KEEP_SECONDS = 7 * 24 * 3600
# left free for everything else that writes to the temporary folder
SPARE_BYTES = 2**28
_PAGE = 4096
_CHECKSUM = 9


def shared_images(config: RunConfig) -> ImageSet:
    """What :func:`trainer.data.images.load_images` returns, with images and extras in memory shared by this node's
    processes.

    The same index gives the same bits. The sets of a mixture are shared one by one, with runs on one of them too. A set
    that is read from shards and exceeds ``runtime.resident_mib`` is returned as it is: shards are mapped already.
    Where the shared file cannot be used (a full disk, a temporary folder of somebody else's), one line on stderr says
    why and the process keeps a copy of its own.

    Raises:
        UsageError, ValueError: as ``load_images``.
    """
    if config.data.mixture is not None:
        return join(config, shared_images)
    with ExitStack() as stack:
        try:
            folder = _folder()
            found = _open(folder, config)
            if found is None:
                # one process decodes, the others wait here; the system drops the lock of a process that dies
                stack.enter_context(_locked(folder / lock_name(config)))
                found = _open(folder, config)
                if found is None and (folder / set_name(config)).exists():
                    print(f"{folder / set_name(config)} is damaged: it is made again", file=sys.stderr)
        except OSError as error:
            return _own_copy(load_images(config), error)
        if found is not None:
            return found
        made = load_images(config)
        budget = config.runtime.resident_mib * 2**20
        if isinstance(made.images, MappedImages) and math.prod(made.images.shape) > budget:
            return made
        try:
            _sweep(folder)
            # only now: reading may have fetched the files that are part of the name
            _write(folder / set_name(config), made)
            found = _open(folder, config)
        except OSError as error:
            return _own_copy(made, error)
    return found or _own_copy(made, OSError("the file just written cannot be read back"))


def _own_copy(images: ImageSet, reason: OSError) -> ImageSet:
    print(f"images are not shared with other trials ({reason}): this process keeps a copy of its own", file=sys.stderr)
    return images


def _folder() -> Path:
    """The folder of this user's sets, made if it is absent; OSError if it is not safely this user's."""
    folder = Path(tempfile.gettempdir()) / f"seq-jepa-images-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise OSError(
            f"{folder} must be a folder that belongs to user {os.getuid()} with mode 700, it has user {facts.st_uid}"
            f" and mode {stat.S_IMODE(facts.st_mode):o}; remove it or set TMPDIR"
        )
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold ``path``'s lock. The file may be swept away by whoever held it before: then it is made again."""
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return


def _sweep(folder: Path) -> None:
    """Remove files that nobody used for a week. Who has one mapped keeps it: its pages live until the last mapping
    ends."""
    for path in folder.iterdir():
        try:
            if time.time() - path.stat().st_mtime > KEEP_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another process swept it


def _write(path: Path, images: ImageSet) -> None:
    """Write a set: a checksum, a JSON header to the end of the first page, then arrays, each from a page's start.

    Called under the set's lock. The file appears under its name when it is complete and on the disk.
    """
    arrays = {"images": images.images, "labels": images.labels}
    arrays |= {f"split/{name}": index for name, index in images.splits.items()}
    arrays |= {f"extra/{name}": values for name, values in images.extras.items()}
    table, end = {}, _PAGE
    for name, array in arrays.items():
        kind = "uint8" if name == "images" else str(array.dtype).removeprefix("torch.")
        table[name] = {"dtype": kind, "shape": list(array.shape), "offset": end}
        end += -(-math.prod(array.shape) * getattr(torch, kind).itemsize // _PAGE) * _PAGE
    header = {
        "name": path.name,
        "bytes": end,
        "split_hash": images.split_hash,
        "classes": images.classes,
        "arrays": table,
    }
    text = json.dumps(header).encode().ljust(_PAGE - _CHECKSUM)
    if len(text) > _PAGE - _CHECKSUM:
        raise ValueError(f"{path.name}: a header of {len(text)} bytes must fit {_PAGE - _CHECKSUM}")
    for left in path.parent.glob(f"{path.name}.*.tmp"):
        left.unlink()  # its writer died: nobody else writes under this lock
    free = shutil.disk_usage(path.parent).free
    if free < end + SPARE_BYTES:
        needed = (end + SPARE_BYTES) / 2**20
        raise OSError(
            f"{path.parent} has {free / 2**20:.0f} MiB free, {needed:.0f} are needed; make room or set TMPDIR"
        )
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(bytes(_CHECKSUM) + text)
            checksum = zlib.crc32(text)
            for array in arrays.values():
                for part in _parts(array):
                    file.write(part)
                    checksum = zlib.crc32(part, checksum)
                rest = bytes(-file.tell() % _PAGE)
                file.write(rest)
                checksum = zlib.crc32(rest, checksum)
            file.seek(0)
            file.write(b"%08x\n" % checksum)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o400)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _parts(array: Tensor | ResidentImages | MappedImages) -> Iterator[memoryview]:
    """The bytes of an array in order; images in shards pass through memory some at a time."""
    if isinstance(array, Tensor):
        whole = [array]
    else:
        count = max(1, 2**25 // max(1, math.prod(array.shape[1:])))
        whole = (array[index] for index in torch.arange(len(array)).split(count))
    for part in whole:
        if part.numel():
            yield memoryview(part.contiguous().view(-1).numpy()).cast("B")


def _open(folder: Path, config: RunConfig) -> ImageSet | None:
    """The stored set of this configuration; None if there is none, or if it is damaged."""
    path = folder / set_name(config)
    try:
        content = np.memmap(path, dtype=np.uint8, mode="r")
    except (FileNotFoundError, ValueError):  # absent, or empty
        return None
    header = _header(content, path.name)
    if header is None:
        return None
    os.utime(path)  # in use: see _sweep
    # one buffer over the mapping: all tensors of it keep the mapping alive
    pages = (ctypes.c_uint8 * len(content)).from_address(content.ctypes.data)
    pages.mapping = content
    arrays = {name: _tensor(pages, **entry) for name, entry in header["arrays"].items()}
    named = {
        kind: {n.removeprefix(kind): t for n, t in arrays.items() if n.startswith(kind)}
        for kind in ("split/", "extra/")
    }
    return ImageSet(
        ResidentImages(arrays["images"]),
        arrays["labels"].clone(),
        {name: index.clone() for name, index in named["split/"].items()},
        header["split_hash"],
        header["classes"],
        named["extra/"],
    )


def _header(content: np.ndarray, name: str) -> dict | None:
    """The header of a whole and undamaged file of this name, otherwise None; reads the file once, 1 s per GiB or
    less."""
    data = memoryview(content)
    if len(data) < _PAGE or bytes(data[:_CHECKSUM]) != b"%08x\n" % zlib.crc32(data[_CHECKSUM:]):
        return None
    header = json.loads(bytes(data[_CHECKSUM:_PAGE]))
    return header if header["name"] == name and header["bytes"] == len(data) else None


def _tensor(pages: ctypes.Array[ctypes.c_uint8], dtype: str, shape: list[int], offset: int) -> Tensor:
    kind = getattr(torch, dtype)
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=kind)
    # numpy would mark the memory read-only and torch warn that it does not know such tensors; the pages stay protected
    return torch.frombuffer(pages, dtype=kind, count=math.prod(shape), offset=offset).view(shape)
