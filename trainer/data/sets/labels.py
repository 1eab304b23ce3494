"""Labels are what every number is about: wrong ones are refused before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.sets.raw import damaged


def as_labels(path: Path, values: object, count: int) -> Tensor:
    """(count,) int64 labels from what a file holds.

    Raises:
        UsageError: not whole numbers, not one per image.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        raise damaged(path, "labels are lists of unequal length, not one whole number per image") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        what = f"labels are {array.dtype} of shape {array.shape}"
        raise damaged(
            path,
            f"{what}, not one whole number per"
            f" image{'; one-hot rows must be replaced by class numbers' if array.ndim == 2 else ''}",
        )
    if len(array) != count:
        raise damaged(path, f"{len(array)} labels for {count} images")
    return torch.from_numpy(array.astype(np.int64))


def check_range(where: Path, labels: Tensor, classes: int, lowest: int = 0) -> None:
    """Raise UsageError unless all labels are classes (or -1, unlabelled, if ``lowest`` says so)."""
    if len(labels) and not lowest <= int(labels.min()) <= int(labels.max()) < classes:
        raise damaged(where, f"labels {int(labels.min())} to {int(labels.max())}, there are classes 0 to {classes - 1}")


def check_classes(where: Path, labels: Tensor, classes: int) -> None:
    """Raise UsageError unless every class is among the labels."""
    found = len(labels[labels >= 0].unique())
    if found < classes:
        raise damaged(
            where,
            f"its training images are of {found} classes, published are {classes}; give --own-files if these files are"
            " your own",
        )
