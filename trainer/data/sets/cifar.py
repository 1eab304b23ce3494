"""CIFAR-10 and CIFAR-100 in their pickled python version."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100

from trainer.data.sets.raw import RawSet, by_hand, concatenated, damaged, downloading, require_files


def read_cifar10(root: Path, download: bool) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 10 classes. Raises UsageError as ``read_cifar100``."""
    return _read(CIFAR10, root, download)


def read_cifar100(root: Path, download: bool) -> RawSet:
    """50,000 + 10,000 images (3, 32, 32), 100 fine classes.

    Raises:
        UsageError: files absent or damaged, images of another size, or a failed download.
    """
    return _read(CIFAR100, root, download)


def _read(dataset: type[CIFAR10], root: Path, download: bool) -> RawSet:
    if download:
        with downloading(dataset.url, root):
            dataset(str(root), download=True)
    train = [name for name, _ in dataset.train_list]
    files = train + [name for name, _ in dataset.test_list]
    folder = root / dataset.base_folder
    require_files(folder, [*files, dataset.meta["filename"]], by_hand(dataset.url, root))
    parts = {name: _parse(dataset, root, name) for name in files}
    images = concatenated([part[0] for part in parts.values()])
    labels = concatenated([part[1] for part in parts.values()])
    return RawSet(images, labels, test=sum(len(parts[name][1]) for name in files if name not in train))


def _parse(dataset: type[CIFAR10], root: Path, name: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one file: torchvision is given that file alone, so that an error can name it."""

    class OneFile(dataset):
        train_list = [[name, None]]
        test_list = []
        # no md5: that is verified when downloading
        meta = {**dataset.meta, "md5": None}

        def _load_meta(self) -> None:
            """The class names are not used."""

    path = root / dataset.base_folder / name
    try:
        parsed = OneFile(str(root))
        images = torch.from_numpy(parsed.data).permute(0, 3, 1, 2)
        labels = torch.tensor(parsed.targets, dtype=torch.int64)
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(path, error) from error
    if images.dtype != torch.uint8 or len(images) != len(labels):
        raise damaged(path, f"{len(images)} images of {images.dtype} with {len(labels)} labels")
    return images, labels
