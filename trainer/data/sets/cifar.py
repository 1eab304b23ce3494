"""CIFAR-10 and CIFAR-100 in their pickled python version; nothing in a file is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100

from trainer.data.sets.checksums import published_bytes, refuse_equal
from trainer.data.sets.labels import as_labels
from trainer.data.sets.places import Places
from trainer.data.sets.plain_pickle import load_plain
from trainer.data.sets.raw import RawSet, by_hand, concatenated, damaged, downloading, require_files

LABELS = {"cifar-10-batches-py": "labels", "cifar-100-python": "fine_labels"}


def read_cifar10(places: Places) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 10 classes. Raises UsageError as ``read_cifar100``."""
    return _read(CIFAR10, places)


def read_cifar100(places: Places) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 100 fine classes.

    Raises:
        UsageError: files absent, damaged or not the published ones, images of another size, wrong labels, or a failed
            download.
    """
    return _read(CIFAR100, places)


def _read(dataset: type[CIFAR10], places: Places) -> RawSet:
    root = places.root
    if places.download:
        with downloading(dataset.url, root):
            dataset(str(root), download=True)
    train = [name for name, _ in dataset.train_list]
    sums = dict([*dataset.train_list, *dataset.test_list])
    folder = root / dataset.base_folder
    require_files(folder, [*sums, dataset.meta["filename"]], by_hand(dataset.url, root))
    refuse_equal(folder / name for name in sums)
    key = LABELS[dataset.base_folder]
    parts = {
        name: _parse(folder / name, published_bytes(folder / name, md5, places.own_files), key)
        for name, md5 in sums.items()
    }
    images = concatenated([part[0] for part in parts.values()])
    labels = concatenated([part[1] for part in parts.values()])
    return RawSet(images, labels, test=sum(len(parts[name][1]) for name in sums if name not in train))


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
