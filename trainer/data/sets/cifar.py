"""CIFAR-10 and CIFAR-100 in their pickled python version; nothing in a file is run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.data.sets.checksums import published_bytes, refuse_equal
from trainer.data.sets.labels import as_labels
from trainer.data.sets.places import Places
from trainer.data.sets.plain_pickle import load_plain
from trainer.data.sets.raw import RawSet, by_hand, concatenated, damaged, downloading, require_files


class Published(NamedTuple):
    """A set: where it is fetched and unpacked, its labels' name in a file, files with their md5, and names' file."""

    name: str
    url: str
    folder: str
    labels: str
    train: dict[str, str]
    test: dict[str, str]
    meta: str


SETS = (
    Published(
        "CIFAR10", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "cifar-10-batches-py", "labels",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f", "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751", "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        {"test_batch": "40351d587109b95175f43aff81a1287e"}, "batches.meta",
    ),
    Published(
        "CIFAR100", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "cifar-100-python", "fine_labels",
        {"train": "16019d7e3df5f24257cddd939b257f8d"}, {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}, "meta",
    ),
)  # fmt: skip


def read_cifar10(places: Places) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 10 classes. Raises UsageError as ``read_cifar100``."""
    return _read(SETS[0], places)


def read_cifar100(places: Places) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 100 fine classes.

    Raises:
        UsageError: files absent, damaged or not the published ones, images of another size, wrong labels, or a failed
            download.
    """
    return _read(SETS[1], places)


def _read(one: Published, places: Places) -> RawSet:
    root, sums = places.root, one.train | one.test
    if places.download:
        from torchvision import datasets  # a second and 160 MiB: only a download needs it

        with downloading(one.url, root):
            getattr(datasets, one.name)(str(root), download=True)
    folder = root / one.folder
    require_files(folder, [*sums, one.meta], by_hand(one.url, root))
    refuse_equal(folder / name for name in sums)
    parts = {
        name: _parse(folder / name, published_bytes(folder / name, md5, places.own_files), one.labels)
        for name, md5 in sums.items()
    }
    images = concatenated([part[0] for part in parts.values()])
    labels = concatenated([part[1] for part in parts.values()])
    return RawSet(images, labels, test=sum(len(parts[name][1]) for name in one.test))


def _parse(path: Path, content: bytes, key: str) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 32, 32) and labels of one file."""
    try:
        found = load_plain(content)
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(path, error) from error
    if not isinstance(found, dict) or not {"data", key} <= found.keys():
        raise damaged(path, f"it holds no 'data' and '{key}'")
    pixels = found["data"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        what = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise damaged(path, f"'data' is {what}, not uint8 (n, 3072)")
    labels = as_labels(path, found[key], len(pixels))
    if (
        "coarse_labels" in found
        and len(pixels)
        and np.array_equal(np.asarray(found["coarse_labels"], dtype=object), labels.numpy())
    ):
        raise damaged(path, f"'{key}' are its coarse labels: 20 classes, not 100")
    return torch.from_numpy(np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32)), labels
