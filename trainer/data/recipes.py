"""What is done to a crop under each recipe: flips and colours drawn from counted random numbers, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data import photometric
from trainer.data.blur import gaussian_blur

NUMBERS = 12
"""Random numbers per view."""
FLIP = 0.5


@dataclass(frozen=True)
class Recipe:
    """Chances and strengths.

    Attributes:
        one_of_three: always exactly one of grey, solarisation and blur, each as likely as the others (3-Augment);
            their own chances are then not asked.
        jitter: chance of the colour jitter, and its brightness, contrast, saturation and hue.
        library: RandAugment and random erasing by torchvision.
    """

    flip: float = FLIP
    one_of_three: bool = False
    jitter: float = 0.0
    strengths: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grey: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    library: bool = False


RECIPES = {
    "whole": Recipe(flip=0.0),
    "ijepa": Recipe(flip=0.0),
    "deit3": Recipe(one_of_three=True, jitter=1.0, strengths=(0.3, 0.3, 0.3, 0.0)),
    "deit": Recipe(library=True),
    "lejepa": Recipe(jitter=0.8, strengths=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5, solarize=0.2),
}
RADIUS = (0.1, 2.0)
"""Of the blur, its standard deviation in pixels."""


@dataclass(frozen=True)
class Colours:
    """What was drawn for (n,) images."""

    jitter: Tensor
    jitter_on: Tensor
    order: Tensor
    grey: Tensor
    solarize: Tensor
    sigma: Tensor
    blur: Tensor


def flips(recipe: Recipe, u: Tensor) -> Tensor:
    """Whether each view is mirrored; (..., NUMBERS) uniforms to (...) bool."""
    return u[..., 0] < recipe.flip


def colours(recipe: Recipe, u: Tensor) -> Colours:
    """Parameters of (n,) views from (n, NUMBERS) uniforms."""
    chosen = (u[:, 1] * 3).floor()
    middle = u.new_tensor([1.0, 1.0, 1.0, 0.0])
    jitter = middle + u.new_tensor(recipe.strengths) * (2 * u[:, 2:6] - 1)
    three = recipe.one_of_three
    return Colours(
        jitter=jitter,
        jitter_on=u[:, 6] < recipe.jitter,
        order=photometric.permutations(u[:, 7:8]),
        grey=chosen == 0 if three else u[:, 8] < recipe.grey,
        solarize=chosen == 1 if three else u[:, 9] < recipe.solarize,
        sigma=RADIUS[0] + (RADIUS[1] - RADIUS[0]) * u[:, 10],
        blur=chosen == 2 if three else u[:, 11] < recipe.blur,
    )


def coloured(recipe: Recipe, images: Tensor, drawn: Colours) -> Tensor:
    """Images (n, C, H, W) in [0, 1] with the recipe's colours; those of a recipe without any come back untouched."""
    if not (recipe.one_of_three or recipe.jitter):
        return images
    side = min(images.shape[-2:])
    # 3-Augment jitters the colours last; the others first
    jitter = (*drawn.jitter.to(images.dtype).unbind(1), drawn.order, drawn.jitter_on)
    if not recipe.one_of_three:
        images = photometric.color_jitter(images, *jitter)
    images = photometric.grayscale(images, drawn.grey)
    images = photometric.solarize(images, 128 / 255, drawn.solarize)
    kernel = min(2 * round(2 * RADIUS[1]) + 1, 2 * ((side - 1) // 2) - 1)
    images = gaussian_blur(images, drawn.sigma, kernel, drawn.blur)
    return photometric.color_jitter(images, *jitter) if recipe.one_of_three else images


def library(images: Tensor, seeds: list[int]) -> Tensor:
    """RandAugment (two operations of magnitude 9) and random erasing (chance 0.25) by torchvision, each image from a
    seed of its own; they take 8-bit images and leave torch's random state as it was."""
    from torchvision.transforms import v2  # a second: only this recipe needs it

    operations = v2.Compose(
        [v2.ToDtype(torch.uint8, scale=True), v2.RandAugment(), v2.ToDtype(images.dtype, scale=True)]
    )
    erase = v2.RandomErasing(0.25)
    results = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds, strict=True):
            torch.manual_seed(seed)
            results.append(erase(operations(image)))
    return torch.stack(results)
