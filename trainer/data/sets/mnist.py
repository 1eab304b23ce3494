"""MNIST in its idx files, plain or gzipped, under ``<root>/MNIST/raw``."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

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
        with downloading(URL, folder):
            MNIST(str(root), download=True)
    names = [f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
    absent = [name + ".gz" for name in names if not (folder / name).exists()]
    require_files(folder, absent, by_hand(f"{URL}{{{','.join(name + '.gz' for name in names)}}}", folder))
    refuse_equal(folder / (name if (folder / name).exists() else f"{name}.gz") for name in names if "images" in name)
    images, labels = [], []
    for part in PARTS:
        images.append(_parse(folder / f"{part}-images-idx3-ubyte", read_image_file))
        labels.append(_parse(folder / f"{part}-labels-idx1-ubyte", read_label_file))
        if images[-1].shape[1:] != (28, 28):
            raise damaged(
                folder / f"{part}-images-idx3-ubyte", f"images are {tuple(images[-1].shape[1:])}, not (28, 28)"
            )
        labels[-1] = as_labels(folder / f"{part}-labels-idx1-ubyte", labels[-1], len(images[-1]))
    return RawSet(concatenated(images)[:, None], concatenated(labels), test=len(labels[1]))


def _parse(path: Path, parser: Callable[[str], Tensor]) -> Tensor:
    packed = path.with_name(path.name + ".gz")
    try:
        if path.exists():
            return parser(str(path))
        # torchvision parses plain files only, and the data folder may be read-only
        with gzip.open(packed) as source, tempfile.NamedTemporaryFile() as plain:
            shutil.copyfileobj(source, plain)
            plain.flush()
            return parser(plain.name)
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError, EOFError, OSError, zlib.error) as error:
        raise damaged(path if path.exists() else packed, error) from error
