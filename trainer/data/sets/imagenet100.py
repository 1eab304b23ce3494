"""ImageNet-100: the classes of Contrastive Multiview Coding, read from ImageNet's tree of JPEG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainer.data.sets.jpeg import fingerprint, jpeg_names, sharded
from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet, damaged, require_files
from trainer.errors import UsageError

LIST = Path(__file__).parent / "lists" / "imagenet100.txt"
"""The ids as CMC published them, in its order; a label is an id's place in sorted order, as its loaders have it."""
SIDE = 256
BY_HAND = "unpack ImageNet's train and val folders, one sub-folder per class, under it"


def classes(path: Path = LIST) -> list[str]:
    """The sorted ids of a list. Raises UsageError if one stands in it twice, or none."""
    found = path.read_text(encoding="utf-8").split()
    if not found or len(set(found)) != len(found):
        raise UsageError(f"{path}: {len(found)} ids, {len(set(found))} different ones; it must name each class once")
    return sorted(found)


def read(places: Places, wanted: list[str] | None = None) -> RawSet:
    """Train images and, as test, the validation images, (3, 256, 256): the shorter side resized, the middle cut out.

    Only folders of the listed classes are opened. The first call decodes the files into ``imagenet100-shards`` (about
    26 GB), later calls open that folder while the list of files is the same.

    Raises:
        UsageError: a class of the list is missing, or a file is damaged.
    """
    folder = places.root / "imagenet"
    names, labels, counts = [], [], []
    for part in ("train", "val"):
        before = len(names)
        for number, wnid in enumerate(wanted or classes()):
            require_files(folder, [f"{part}/{wnid}"], BY_HAND)
            files = jpeg_names(folder / part / wnid)
            names += [f"{part}/{wnid}/{name}" for name in files]
            labels += [number] * len(files)
        counts.append(len(names) - before)
    images = sharded(
        places.made / "imagenet100-shards",
        lambda name: middle(folder / name, SIDE),
        names,
        (3, SIDE, SIDE),
        fingerprint([*names, f"{SIDE} px"]),
    )
    return RawSet(images, torch.tensor(labels, dtype=torch.int64), test=counts[1])


def middle(path: Path, side: int) -> np.ndarray:
    """(3, side, side) uint8: the shorter side resized to ``side``, bicubic, and the middle cut out."""
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, error) from error
    scale = side / min(pixels.size)
    wide, high = (max(side, round(length * scale)) for length in pixels.size)
    left, top = (wide - side) // 2, (high - side) // 2
    pixels = pixels.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    return np.asarray(pixels).transpose(2, 0, 1)
