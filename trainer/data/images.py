"""Image sets: uint8 images and labels on the training device (or in memory-mapped shards), with their fixed splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config import SETS, RunConfig, split_sizes
from trainer.data.mixed import MixedImages
from trainer.data.philox import philox
from trainer.data.sets import FOLDERS
from trainer.data.sets.labels import check_classes, check_range
from trainer.data.sets.places import made_folder
from trainer.data.sets.raw import RawSet
from trainer.data.store import MappedImages, ResidentImages, place
from trainer.errors import UsageError

# sha256 over the three index lists; a change of split would change every number, so it is refused. The other sets'
# hashes are in every record.
SPLIT_HASHES = {"digits": "47532058c8aeabbf6ea726207467454e96ead5364bae7ff4693034cfe820c421"}


@dataclass(frozen=True)
class Member:
    """One set of a mixture: what :class:`ImageSet` says of a set, its splits as positions in the joined one.

    Attributes:
        stop: position after its last image.
    """

    splits: dict[str, Tensor]
    classes: int
    split_hash: str
    stop: int

    def to(self, device: torch.device) -> Member:
        """The splits on ``device``."""
        return replace(self, splits={name: index.to(device) for name, index in self.splits.items()})


@dataclass(frozen=True)
class ImageSet:
    """A labelled image set.

    Attributes:
        images: rows of (C, H, W) uint8; where an object has R recorded views, object after object, R rows each.
        labels: (N,) int64, -1 where unknown.
        splits: index tensors (int64) of ``train``, ``validation``, ``test`` and ``pretrain`` (what pre-training sees).
        split_hash: sha256 of the splits, as stored in every record.
        extras: what else is known of an image: ``quaternion``, ``hue``, ``saliency``.
        members: the sets of a mixture, by name; see :func:`trainer.data.joined.join` for what the rest then says.
    """

    images: Tensor | ResidentImages | MappedImages | MixedImages
    labels: Tensor
    splits: dict[str, Tensor]
    split_hash: str
    classes: int
    extras: dict[str, Tensor] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def on_record(self) -> dict[str, Any]:
        """The hash of the splits, and of a mixture those of its sets, as runs on one of them have them."""
        of_sets = {name: one.split_hash for name, one in self.members.items()}
        return {"split_hash": self.split_hash} | ({"split_hashes": of_sets} if of_sets else {})

    def to(self, device: torch.device, budget_mib: int) -> ImageSet:
        """Labels, splits and extras on ``device``; images too if they take at most ``budget_mib`` MiB."""
        budget, images = budget_mib * 2**20, self.images
        return replace(
            self,
            images=images.placed(device, budget) if isinstance(images, MixedImages) else place(images, device, budget),
            labels=self.labels.to(device),
            splits={name: index.to(device) for name, index in self.splits.items()},
            extras={name: values.to(device) for name, values in self.extras.items()},
            members={name: one.to(device) for name, one in self.members.items()},
        )


def load_images(config: RunConfig) -> ImageSet:
    """Load the configured image set.

    Most are read from ``runtime.data_root`` in the form they are published in; digits come with scikit-learn, and
    ``mini3d`` is rendered. A mixture's sets are loaded one by one and joined.

    Raises:
        UsageError: the files are absent, damaged, or not the published number.
        ValueError: the computed split is not the stored one.
    """
    if config.data.mixture is not None:
        from trainer.data.joined import join

        return join(config, load_images)
    data, facts = config.data, SETS[config.data.name]
    raw = _read(config)
    images = raw.images
    if len(images.shape) == 5:
        images = images.flatten(0, 1) if isinstance(images, Tensor) else images.merged()
    extras = dict(raw.extras)
    if "light" in extras:
        # 3DIEBench's colours are the floor's hue and the light's, as in the paper's code
        extras["hue"] = torch.stack([extras["hue"], extras.pop("light")[..., 2]], dim=-1)
    if data.glimpse is not None and data.glimpse.saliency != "uniform":
        from trainer.data.sets import saliency

        if data.glimpse.saliency == "file":
            path = Path(config.runtime.saliency_file)
            extras["saliency"] = saliency.read_maps(path, (images.shape[0], *images.shape[-2:]))
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != data.glimpse.map_sha256:
                raise UsageError(
                    f"data.glimpse.map_sha256 = {data.glimpse.map_sha256!r}, but {path} has {found}; other maps are"
                    " another arm: set it to that"
                )
        else:
            extras["saliency"] = saliency.kept(images, made_folder(config) / f"{data.name}-saliency", raw.source)
    splits = _splits(config, raw)
    parts = ["test", "train", "validation"] + ([] if torch.equal(splits["pretrain"], splits["train"]) else ["pretrain"])
    digest = hashlib.sha256(b"".join(splits[part].numpy().astype("<i8").tobytes() for part in parts)).hexdigest()
    if digest != SPLIT_HASHES.get(data.name, digest) and data.sizes is None and data.pretrain_on == "train":
        raise ValueError(
            f"{data.name}: the split's hash is {digest[:12]}, but results on record use {SPLIT_HASHES[data.name][:12]};"
            " the data or their order changed, so new numbers would not compare with old ones"
        )
    return ImageSet(images, raw.labels, splits, digest, facts.classes, extras)


def _read(config: RunConfig) -> RawSet:
    data = config.data
    if data.generated:
        from trainer.data.generated import generate

        return generate(config)
    from trainer.certificates import trust_system
    from trainer.data import sets

    trust_system(config.runtime.system_certs)
    root = Path(config.runtime.data_root)
    raw = sets.read(
        data.name, root, config.runtime.download, made=made_folder(config), own_files=config.runtime.own_files
    )
    if data.name in FOLDERS:
        _as_published(config, raw)
    return raw


def _as_published(config: RunConfig, raw: RawSet) -> None:
    """Raise UsageError unless a set read from files has the published counts and classes, or is the user's own."""
    data, facts, root = config.data, SETS[config.data.name], Path(config.runtime.data_root)
    check_range(root / FOLDERS[data.name], raw.labels, facts.classes, lowest=-1 if facts.unlabelled else 0)
    if config.runtime.own_files:
        return
    found = (len(raw.labels) - raw.test, raw.test)
    published = (sum(facts.splits[:2]) + facts.unlabelled, facts.splits[2])
    # the number of 3DIEBench's objects could not be confirmed: there it is enough to have them all
    enough = found == published or (
        data.name == "3diebench" and min(a - b for a, b in zip(found, published, strict=True)) >= 0
    )
    if not enough:
        raise UsageError(
            f"{data.name} in {root} has {found[0]} training and {found[1]} test images, published are {published[0]}"
            f" and {published[1]}; complete it, or give --own-files, with data.sizes=[train,validation,test], if these"
            " files are your own"
        )
    check_classes(root / FOLDERS[data.name], raw.labels[: found[0]], facts.classes)


def _splits(config: RunConfig, raw: RawSet) -> dict[str, Tensor]:
    train, validation, test, unlabelled = split_sizes(config.data)
    everything = torch.arange(len(raw.labels))
    if SETS[config.data.name].test_is_published:
        pool, published = everything[: len(everything) - raw.test], everything[len(everything) - raw.test :]
        labelled, without = pool[raw.labels[pool] >= 0], pool[raw.labels[pool] < 0]
        _enough(config, "train + validation", train + validation, len(labelled))
        _enough(config, "test", test, len(published))
        _enough(config, "unlabelled", unlabelled, len(without))
        parts = stratified_splits(raw.labels[labelled], (train, validation))
        splits = {"train": labelled[parts[0]], "validation": labelled[parts[1]]}
        splits["test"] = published[stratified_splits(raw.labels[published], (test,))[0]]
    else:
        parts = stratified_splits(raw.labels, (train, validation, test))
        splits, without = dict(zip(("train", "validation", "test"), parts, strict=True)), everything[:0]
    pretrain = [splits["train"]]
    if config.data.pretrain_on == "train_and_validation":
        pretrain.append(splits["validation"])
    if unlabelled:
        pretrain.append(without[stratified_splits(torch.zeros_like(without), (unlabelled,))[0]])
    splits["pretrain"] = torch.cat(pretrain).sort().values
    return splits


def _enough(config: RunConfig, part: str, wanted: int, found: int) -> None:
    if wanted > found:
        raise UsageError(
            f"{config.data.name} in {config.runtime.data_root} has {found} {part} images, {wanted} are asked for"
        )


def stratified_splits(labels: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """Fixed stratified splits by index.

    Within each class the images are put in a fixed random order; an image's place in it, as a fraction,
    decides its split. Every class is therefore divided in the same proportions, to within one image.

    Args:
        labels: (N,) int64; N must be at least the sum of ``sizes``. What remains belongs to no split.
    """
    if sum(sizes) > len(labels):
        raise ValueError(f"split sizes {sizes} add to {sum(sizes)}, but there are {len(labels)} images")
    index = torch.arange(len(labels))
    zero = torch.zeros_like(index)
    noise = philox((index, zero, zero, zero), (0, 0))[0]
    where = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = torch.nonzero(labels == label).squeeze(1)
        members = members[torch.argsort(noise[members], stable=True)]
        where[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    order = torch.argsort(where, stable=True)
    *parts, _ = torch.split(order, [*sizes, len(labels) - sum(sizes)])
    return [part.sort().values for part in parts]
