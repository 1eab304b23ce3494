"""Tiny ImageNet in its tree of JPEG files under ``<root>/tiny-imagenet-200``."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.data.sets.jpeg import decode, fingerprint, jpeg_names, sharded
from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet, by_hand, damaged, downloading, require_files

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
SIDE = 64


def read(places: Places) -> RawSet:
    """100,000 train images and, as test, the 10,000 official validation images, (3, 64, 64), 200 classes.

    Classes are numbered in the order of their sorted WordNet ids. The first call decodes the JPEG files into
    ``<root>/tiny_imagenet-shards`` (1.4 GB), later calls open that folder while the list of files is the same.

    Raises:
        UsageError: files absent or damaged, images of another size, or a failed download.
    """
    root, download = places.root, places.download
    folder = root / "tiny-imagenet-200"
    needed = ["wnids.txt", "train", "val/images", "val/val_annotations.txt"]
    if download and not all((folder / name).exists() for name in needed):
        from torchvision.datasets.utils import download_and_extract_archive  # a second and 160 MiB

        with downloading(URL, root):
            download_and_extract_archive(URL, str(root), md5=MD5)
    require_files(folder, needed, by_hand(URL, root))
    classes = {
        wnid: number
        for number, wnid in enumerate(sorted((folder / "wnids.txt").read_text(encoding="utf-8-sig").split()))
    }
    files, labels = [], []
    for wnid, number in classes.items():
        require_files(folder, [f"train/{wnid}/images"], by_hand(URL, root))
        names = jpeg_names(folder / "train" / wnid / "images")
        files += [f"train/{wnid}/images/{name}" for name in names]
        labels += [number] * len(names)
    there = jpeg_names(folder / "val" / "images")
    validation = _annotations(
        folder / "val" / "val_annotations.txt", classes, {Path(name).stem: name for name in there}
    )
    files += [f"val/images/{name}" for name, _ in validation]
    labels += [number for _, number in validation]
    images = sharded(
        places.made / "tiny_imagenet-shards",
        lambda name: decode(folder / name, SIDE, SIDE),
        files,
        (3, SIDE, SIDE),
        fingerprint([*files, f"{len(there)} validation files", f"{SIDE} px"]),
    )
    return RawSet(images, torch.tensor(labels, dtype=torch.int64), test=len(validation))


def _annotations(path: Path, classes: dict[str, int], there: dict[str, str]) -> list[tuple[str, int]]:
    """File name (as on disk, whatever its ending's spelling) and class of the validation images, in the order of the
    list: name, id, box, separated by tabs."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in classes:
            raise damaged(path, f"line {number} is {line!r}: no image and class of wnids.txt")
        entries.append((there.get(Path(fields[0]).stem, fields[0]), classes[fields[1]]))
    return entries
