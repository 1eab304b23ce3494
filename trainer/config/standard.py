"""Settings of views that are told nothing: augmented crops of an image for methods that predict without actions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, Positive, added, only_when

Range = Annotated[tuple[float, float], Field(strict=False)]
CROPS = {"whole": (1.0, 1.0), "ijepa": (0.3, 1.0), "deit3": (0.08, 1.0), "deit": (0.08, 1.0), "lejepa": (0.08, 1.0)}
"""Area of a crop under each recipe, as a fraction of the image; ``whole`` crops nothing."""
COLOURED = ("deit3", "deit", "lejepa")
"""Recipes that change colours."""


class LocalConfig(Node):
    """Small crops beside the views (multi-crop, SwAV)."""

    count: Annotated[int, Field(ge=1, le=16)] = 6
    side: Annotated[int, Field(ge=4, le=256)] = 16
    """Pixels."""
    scale: Range = (0.05, 0.3)
    """Area of the crop as a fraction of the image."""


class StandardConfig(Node):
    """Views of an image without actions."""

    recipe: Literal["whole", "ijepa", "deit3", "deit", "lejepa"] = "ijepa"
    """whole: the image as it is. ijepa: a random crop, no flip, colours as they are. deit3: crop, flip, one of grey,
    solarisation and blur (3-Augment), colour jitter 0.3. deit: crop, flip, RandAugment and random erasing, the recipe
    of DeiT's first version. lejepa: crop, flip, strong jitter, grey, blur and solarisation by chance."""
    crop_scale: Range | None = None
    """Area of a view as a fraction of the image; default: the recipe's."""
    views: Annotated[int, Field(ge=1, le=8)] = 1
    """Views of each image in a step, each cropped and coloured by itself."""
    locals: LocalConfig | None = added(None)
    mixup: Positive | None = added(None)
    """Mix every image with another of the batch by shares drawn from Beta(mixup, mixup) (0.8 in DeiT)."""
    cutmix: Positive | None = added(None)
    """Paste a box of another image, its area drawn from Beta(cutmix, cutmix) (1.0 in DeiT). With mixup, each step does
    one of the two."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        recipe = values.get("recipe", "ijepa")
        cropped = recipe != "whole"
        only_when(values, "crop_scale", cropped, "standard.recipe other than whole", CROPS.get(str(recipe)))

    @model_validator(mode="after")
    def _ranges(self) -> StandardConfig:
        for name, scale in (("crop_scale", self.crop_scale), ("locals.scale", self.locals and self.locals.scale)):
            if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
                raise ValueError(f"{name} = {scale} must satisfy 0 < low <= high <= 1")
        return self
