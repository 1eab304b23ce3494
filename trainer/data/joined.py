"""The image sets of a mixture as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from trainer.config import RunConfig, members
from trainer.data.images import ImageSet, Member
from trainer.data.mixed import MixedImages
from trainer.data.store import ResidentImages


def join(config: RunConfig, load: Callable[[RunConfig], ImageSet]) -> ImageSet:
    """What ``load`` gives of each set alone, one after the other.

    Labels keep the numbers of their own set: a class means something within its set only. ``train``, ``validation``,
    ``test`` and ``classes`` are those of ``data.name``, and ``pretrain`` is that of all.
    """
    sets = {one.name: load(config.model_copy(update={"data": one})) for one in members(config.data)}
    found, parts, first = {}, [], 0
    for name, one in sets.items():
        splits = {split: index + first for split, index in one.splits.items()}
        found[name] = Member(splits, one.classes, one.split_hash, first + len(one.labels))
        parts.append(ResidentImages(one.images) if isinstance(one.images, torch.Tensor) else one.images)
        first += len(one.labels)
    judged = found[config.data.name]
    digest = hashlib.sha256("".join(f"{name} {one.split_hash}\n" for name, one in found.items()).encode())
    return ImageSet(
        MixedImages(parts),
        torch.cat([one.labels for one in sets.values()]),
        judged.splits | {"pretrain": torch.cat([one.splits["pretrain"] for one in found.values()])},
        digest.hexdigest(),
        judged.classes,
        members=found,
    )
