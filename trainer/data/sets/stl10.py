"""STL-10 in its binary files under ``<root>/stl10_binary``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.sets.checksums import refuse_equal
from trainer.data.sets.jpeg import fingerprint
from trainer.data.sets.labels import as_labels
from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet, by_hand, damaged, downloading, require_files
from trainer.data.store import MappedImages

URL, FOLDER = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "stl10_binary"
IMAGE = (3, 96, 96)
_BYTES = 3 * 96 * 96


def read(places: Places) -> RawSet:
    """100,000 unlabelled (label -1), 5,000 train and 8,000 test images (3, 96, 96), in this order; 10 classes.

    The files are memory-mapped and read where they lie: 3.1 GB if the images are then kept in memory
    (``runtime.resident_mib``), next to nothing if they are not.

    Raises:
        UsageError: files absent or damaged, or a failed download.
    """
    root, download = places.root, places.download
    folder = root / FOLDER
    if download:
        from torchvision.datasets import STL10  # a second and 160 MiB: only a download needs it

        with downloading(URL, root):
            STL10(str(root), split="test", download=True)
    parts = ("unlabeled", "train", "test")
    files = [f"{part}_X.bin" for part in parts] + ["train_y.bin", "test_y.bin"]
    require_files(folder, files, by_hand(URL, root))
    refuse_equal(folder / f"{part}_X.bin" for part in parts)
    pixels = [_pixels(folder / f"{part}_X.bin") for part in parts]
    # stored column by column
    images = MappedImages([part.transpose(0, 1, 3, 2) for part in pixels])
    labels = [torch.full((len(pixels[0]),), -1)]
    labels += [_labels(folder / f"{part}_y.bin", len(own)) for part, own in zip(parts[1:], pixels[1:], strict=True)]
    source = fingerprint(
        f"{name} {facts.st_size} {facts.st_mtime_ns}" for name in files[:3] for facts in [(folder / name).stat()]
    )
    return RawSet(images, torch.cat(labels), test=len(pixels[2]), source=source)


def _pixels(path: Path) -> np.ndarray:
    size = path.stat().st_size
    if size == 0 or size % _BYTES:
        raise damaged(path, f"{size:,} bytes are not a whole number of images of {_BYTES:,} bytes")
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, *IMAGE)


def _labels(path: Path, count: int) -> Tensor:
    labels = as_labels(path, np.fromfile(path, dtype=np.uint8), count) - 1
    if not 0 <= int(labels.min()) <= int(labels.max()) < 10:
        raise damaged(path, "labels must lie in 1..10")
    return labels
