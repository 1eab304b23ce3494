"""MNIST in its idx files, plain or gzipped, under ``<root>/MNIST/raw``."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.sets.checksums import refuse_equal
from trainer.data.sets.labels import as_labels
from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet, by_hand, concatenated, damaged, downloading, require_files

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
PARTS = ("train", "t10k")


def read(places: Places) -> RawSet:
    """60,000 + 10,000 images (1, 28, 28), 10 classes.

    Raises:
        UsageError: files absent or damaged, images of another size, or a failed download.
    """
    root, download = places.root, places.download
    folder = root / "MNIST" / "raw"
    if download:
        from torchvision.datasets import MNIST  # a second and 160 MiB: only a download needs it

        with downloading(URL, folder):
            MNIST(str(root), download=True)
    names = [f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
    absent = [name + ".gz" for name in names if not (folder / name).exists()]
    require_files(folder, absent, by_hand(f"{URL}{{{','.join(name + '.gz' for name in names)}}}", folder))
    refuse_equal(folder / (name if (folder / name).exists() else f"{name}.gz") for name in names if "images" in name)
    images, labels = [], []
    for part in PARTS:
        images.append(_parse(folder / f"{part}-images-idx3-ubyte", 3))
        labels.append(_parse(folder / f"{part}-labels-idx1-ubyte", 1))
        if images[-1].shape[1:] != (28, 28):
            raise damaged(
                folder / f"{part}-images-idx3-ubyte", f"images are {tuple(images[-1].shape[1:])}, not (28, 28)"
            )
        labels[-1] = as_labels(folder / f"{part}-labels-idx1-ubyte", labels[-1], len(images[-1]))
    return RawSet(concatenated(images)[:, None], concatenated(labels), test=len(labels[1]))


def _parse(path: Path, dimensions: int) -> Tensor:
    """Bytes of an idx file, plain or packed: two zeros, 8 for bytes, the number of dimensions, each one's size."""
    file = path if path.exists() else path.with_name(path.name + ".gz")
    try:
        content = file.read_bytes() if file == path else gzip.decompress(file.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(file, error) from error
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, 8, dimensions]):
        raise damaged(file, f"it does not begin as bytes in {dimensions} dimensions do")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    if len(content) != head + math.prod(shape):
        raise damaged(file, f"{len(content) - head:,} bytes are not {shape}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=head).reshape(shape).copy())
