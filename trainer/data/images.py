"""Image sets: uint8 images and labels, resident on the training device, with their fixed splits."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.config import SPLITS
from trainer.data.philox import philox

# sha256 over the three index lists; a change of split would change every number, so it is refused
SPLIT_HASHES = {"digits": "47532058c8aeabbf6ea726207467454e96ead5364bae7ff4693034cfe820c421"}


@dataclass(frozen=True)
class ImageSet:
    """A labelled image set.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        splits: index tensors (int64) of ``train``, ``validation`` and ``test``.
        split_hash: sha256 of the splits, as stored in every record.
    """

    images: Tensor
    labels: Tensor
    splits: dict[str, Tensor]
    split_hash: str

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def to(self, device: torch.device) -> ImageSet:
        splits = {name: index.to(device) for name, index in self.splits.items()}
        return ImageSet(self.images.to(device), self.labels.to(device), splits, self.split_hash)


def load_images(name: str) -> ImageSet:
    """Load an image set by its configured name, on the CPU.

    ``digits``: scikit-learn's copy of the UCI optical recognition set, 1,797 images of 8 x 8, 10 classes.

    Raises:
        ValueError: the computed split is not the stored one.
    """
    pixels, target = _digits()
    # intensities are 0..16
    images = torch.from_numpy(np.round(pixels * (255 / 16)).astype(np.uint8))[:, None].contiguous()
    labels = torch.from_numpy(target.astype(np.int64))
    splits = stratified_splits(labels, SPLITS[name])
    digest = hashlib.sha256(b"".join(splits[part].numpy().astype("<i8").tobytes() for part in sorted(splits))).hexdigest()
    if digest != SPLIT_HASHES[name]:
        raise ValueError(
            f"{name}: the split's hash is {digest[:12]}, but results on record use {SPLIT_HASHES[name][:12]}; "
            "the data or their order changed, so new numbers would not compare with old ones"
        )
    return ImageSet(images, labels, splits, digest)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """What ``sklearn.datasets.load_digits`` returns, without its import, which costs every trial process seconds."""
    package = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    path = Path(package) / "datasets" / "data" / "digits.csv.gz"
    if not path.exists():
        from sklearn.datasets import load_digits

        raw = load_digits()
        return raw.images, raw.target
    with gzip.open(path, "rt") as file:
        table = np.array([line.split(",") for line in file], dtype=np.float64)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def stratified_splits(labels: Tensor, sizes: tuple[int, int, int]) -> dict[str, Tensor]:
    """Fixed stratified splits by index.

    Within each class the images are put in a fixed random order; an image's place in it, as a fraction,
    decides its split. Every class is therefore divided in the same proportions, to within one image.

    Args:
        labels: (N,) int64; N must equal the sum of ``sizes``.
    """
    if sum(sizes) != len(labels):
        raise ValueError(f"split sizes {sizes} add to {sum(sizes)}, but there are {len(labels)} images")
    index = torch.arange(len(labels))
    zero = torch.zeros_like(index)
    noise = philox((index, zero, zero, zero), (0, 0))[0]
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = torch.nonzero(labels == label).squeeze(1)
        members = members[torch.argsort(noise[members], stable=True)]
        place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    order = torch.argsort(place, stable=True)
    parts = torch.split(order, list(sizes))
    return {name: part.sort().values for name, part in zip(("train", "validation", "test"), parts, strict=True)}
