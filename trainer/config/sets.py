"""Facts about the data sets that planning needs before any image is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

if TYPE_CHECKING:
    from trainer.config.data import DataConfig


@dataclass(frozen=True)
class SetFacts:
    """One data set as published.

    Attributes:
        side: height and width in pixels.
        splits: labelled train, validation and test images (objects, where an object has several views). Train and
            validation divide the published training set by a fixed stratified order; test is the published test set.
        unlabelled: images without labels, for pre-training only.
        statistics: per-channel mean and standard deviation of pixels in [0, 1], for normalisation.
    """

    channels: int
    side: int
    classes: int
    splits: tuple[int, int, int]
    unlabelled: int = 0
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    views: int = 1
    test_is_published: bool = True


# CIFAR-100, Tiny-ImageNet and 3DIEBench statistics are those of the seq-JEPA code (the paper's appendix prints
# CIFAR-10's for CIFAR-100); the others are the usual ones, but for the digits', which are those of all 1,797 images
SETS: dict[str, SetFacts] = {
    "digits": SetFacts(1, 8, 10, (1100, 300, 397), statistics=((0.3053,), (0.3759,)), test_is_published=False),
    "mnist": SetFacts(1, 28, 10, (54_000, 6_000, 10_000), statistics=((0.1307,), (0.3081,))),
    "cifar10": SetFacts(
        3, 32, 10, (45_000, 5_000, 10_000), statistics=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    ),
    "cifar100": SetFacts(
        3, 32, 100, (45_000, 5_000, 10_000), statistics=((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    ),
    "tiny_imagenet": SetFacts(
        3, 64, 200, (90_000, 10_000, 10_000), statistics=((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))
    ),
    "stl10": SetFacts(
        3, 96, 10, (4_000, 1_000, 8_000), 100_000, statistics=((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))
    ),
    # the 100 classes of CMC; 256 pixels: the shorter side resized, the middle cut out
    "imagenet100": SetFacts(
        3, 256, 100, (116_689, 10_000, 5_000), statistics=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    ),
    # 41,920 + 10,480 objects; the authors' page (github.com/facebookresearch/SIE) counts 52,472 in all, 72 more
    "3diebench": SetFacts(
        3, 128, 55, (37_728, 4_192, 10_480), statistics=((0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)), views=50
    ),
    "mini3d": SetFacts(3, 32, 10, (360, 120, 120), views=20, test_is_published=False),
}

Count = Annotated[int, Field(ge=1)]


def drop_spelled_out(values: dict[str, Any], facts: SetFacts) -> None:
    """Make null of sizes that are those of the whole set: everything, spelled out, is the same arm as everything."""
    if isinstance(values.get("sizes"), (list, tuple)) and tuple(values["sizes"]) == facts.splits:
        values["sizes"] = None
    if values.get("unlabelled") == facts.unlabelled:
        values["unlabelled"] = None


def check_sizes(name: str, sizes: tuple[int, int, int] | None, selecting: str, called: str) -> None:
    """Raise ValueError for train, validation and test images that a set has not, or too few for a probe.

    Args:
        selecting: the split that a run is selected by.
        called: the setting, in the message.
    """
    if sizes is None:
        return
    train, validation, test = SETS[name].splits
    if sizes[0] + sizes[1] > train + validation or sizes[2] > test:
        raise ValueError(
            f"{called} = {sizes}: train + validation must not exceed {train + validation} and test {test}, all there is"
            f" in {name}"
        )
    for part, count in {"train": sizes[0], selecting: sizes[2 if selecting == "test" else 1]}.items():
        if count < 2:
            raise ValueError(f"{called} = {sizes}: probes need at least 2 {part} images, one has no batch statistics")


def split_sizes(data: DataConfig) -> tuple[int, int, int, int]:
    """Images in (train, validation, test, unlabelled) of ``data.name`` under a configuration."""
    facts = SETS[data.name]
    train, validation, test = data.sizes or facts.splits
    unlabelled = facts.unlabelled if data.unlabelled is None else data.unlabelled
    return train, validation, test, unlabelled


def pretraining_images(data: DataConfig) -> int:
    """Images of ``data.name`` that one pass of pre-training sees."""
    train, validation, _, unlabelled = split_sizes(data)
    return train + unlabelled + (validation if data.pretrain_on == "train_and_validation" else 0)
