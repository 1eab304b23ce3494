"""Images, and the transformation that relates their views (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.mixture import Mixture, channels, check_mixture, members, named
from trainer.config.node import Fraction, Node, added, one_of, only_when
from trainer.config.sets import SETS, Count, check_sizes, drop_spelled_out
from trainer.config.standard import COLOURED, StandardConfig
from trainer.config.stream import StreamConfig, check_data

Range = Annotated[tuple[float, float], Field(strict=False)]
PLANAR = ("rotation", "affine")
ACTIONS = (*PLANAR, "augment", "glimpse", "object")
"""Transformations that relate views by actions."""
TRANSFORMS = (*ACTIONS, "standard")


class AugmentConfig(Node):
    """Crop, colour jitter and blur with recorded parameters (paper A.1, as its code does it).

    The random switches of *observed* views and of the *target* view differ in blur and solarisation.
    """

    action: Literal["crop_jitter_blur", "crop", "jitter", "blur", "crop_jitter", "extended"] = "crop_jitter_blur"
    """What the model is told: 9 numbers (4, 4, 1), one group of them, 8 without blur, or ``extended``: 12, with the
    switches of flip, grey and solarisation, which the others leave unobserved."""
    crop_scale: Range = (0.2, 1.0)
    """Area of the crop as a fraction of the image; its aspect ratio is log-uniform in 3/4 .. 4/3."""
    flip: Fraction = 0.5
    jitter: Fraction = 0.8
    brightness: Fraction = 0.4
    contrast: Fraction = 0.4
    saturation: Fraction = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    grey: Fraction = 0.2
    blur: Fraction = 1.0
    target_blur: Fraction = 0.1
    blur_sigma: Range = (0.1, 2.0)
    solarize: Fraction = 0.0
    target_solarize: Fraction = 0.2

    @model_validator(mode="after")
    def _ranges(self) -> AugmentConfig:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale = {self.crop_scale} must satisfy 0 < low <= high <= 1")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError(f"blur_sigma = {self.blur_sigma} must satisfy 0 < low <= high")
        if self.action == "crop_jitter" and (self.blur or self.target_blur):
            raise ValueError(
                f"blur = {self.blur} and target_blur = {self.target_blur} must be 0 with action=crop_jitter, "
                "the variant without blur"
            )
        off = {
            "jitter = 0": not self.jitter,
            "blur = 0 and target_blur = 0": not (self.blur or self.target_blur),
            "crop_scale = (1, 1)": self.crop_scale == (1, 1),
        }
        for what, is_off in off.items():
            if is_off and what.startswith(self.action):
                raise ValueError(
                    f"augment.action = {self.action!r} with {what} is a constant: there is nothing to tell"
                )
        read_with = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), "jitter = 0")
        for name, what in (read_with | {"blur_sigma": "blur = 0 and target_blur = 0"}).items():
            if off[what] and (value := getattr(self, name)) != (usual := type(self).model_fields[name].default):
                raise ValueError(f"{name} = {value} does nothing with {what}; leave it at {usual}, or remove it")
        return self


class GlimpseConfig(Node):
    """Predictive learning over saccades: patches around fixations, the eye's movement is the action (paper 4.3)."""

    saliency: Literal["centre_surround", "uniform", "file"] = "centre_surround"
    """Fixations are drawn from a saliency map computed from the image, from no map, or from runtime.saliency_file."""
    map_sha256: str | None = None
    """saliency=file only: sha256 of that file, so that other maps are another arm."""
    inhibition: Literal["square", "circle", "none"] = "circle"
    """Inhibition of return: no second fixation near an earlier one. circle is the paper's text, square its code."""
    radius: Annotated[int, Field(ge=1, le=256)] | None = None
    """Of the inhibited circle, or half the side of the square; pixels."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        inhibits = values.get("inhibition", "circle") != "none"
        only_when(values, "radius", inhibits, "inhibition=circle or square", 16)
        from_file = values.get("saliency", "centre_surround") == "file"
        only_when(values, "map_sha256", from_file, "saliency=file", None)


class DataConfig(Node):
    """Images and the transformation that relates their views."""

    name: Annotated[str, one_of(SETS)] = "digits"
    transform: Literal["rotation", "affine", "augment", "glimpse", "object", "standard"] = "rotation"
    """rotation, affine: planar warps; augment: crop, jitter and blur; glimpse: patches around fixations;
    object: the recorded views of a rendered object (3diebench and its offline miniature mini3d);
    standard: crops of an image that no action relates."""
    observed_views: Annotated[int, Field(ge=1, le=16)]
    """M: views the aggregator sees, 3 by default; one more view is the target. standard: 1, as every image stands for
    itself."""
    draws_per_epoch: Annotated[int, Field(ge=1, le=64)] = 1
    """How often each training image is drawn per epoch, each time with new views."""
    canvas: Annotated[int, Field(ge=4, le=256)]
    """Side of a rendered view in pixels; default: the data set's (12 for digits, 32 for glimpses and for standard views
    of digits)."""
    content: Annotated[int, Field(ge=4, le=256)] | None = None
    """rotation and affine: side of the image inside the canvas, in pixels, before any transformation."""
    max_angle: Annotated[float, Field(gt=0, le=180)] | None = None
    """rotation and affine: the angle is uniform in +-max_angle degrees."""
    angle_steps: Annotated[int, Field(ge=2, le=360)] | None = added(None)
    """rotation only, instead of max_angle: the angle is a multiple of 360/angle_steps degrees."""
    max_shift: Annotated[float, Field(ge=0, le=1)] | None = None
    """affine only: translation is uniform in +-max_shift of half the canvas, per axis."""
    max_log_scale: Annotated[float, Field(ge=0, le=1)] | None = None
    """affine only: the logarithm of the scale is uniform in +-max_log_scale."""
    scale_range: Range | None = added(None)
    """affine only, instead of max_log_scale: the scale is log-uniform in this range."""
    augment: AugmentConfig | None = added(None)
    glimpse: GlimpseConfig | None = added(None)
    standard: StandardConfig | None = added(None)
    hue_action: bool = added(False)
    """object only: the change of hue is part of the action."""
    anchor_first: bool = False
    """rotation and affine: leave the first view untransformed, as the research log did."""
    normalize: Literal["none", "dataset"] = added("none")
    """Subtract the data set's mean colour and divide by its standard deviation, after rendering."""
    action_scale: Literal["feature_std", "none", "views"] = "feature_std"
    """Divide each action component by its fixed standard deviation over the training stream, or not. ``views`` divides
    the parameters by their norm over the sequence's views, target included, before differencing: the paper's code
    does it, it tells the model about views it has not seen, and its R2 depends on M."""
    pad_action: Annotated[int, Field(ge=0, le=16)] = added(0)
    """Constant zeros appended to the action, as in the research log's rotation-only runs."""
    pretrain_on: Literal["train", "train_and_validation"] = added("train")
    """The images that pre-training sees (without labels); the paper uses all published training images."""
    select_on: Literal["validation", "test"] = added("validation")
    """The split that probes of a run in training are scored on. ``test`` is what the log did; its rows say so and
    no study accepts them."""
    sizes: Annotated[tuple[Count, Count, Count], Field(strict=False)] | None = added(None)
    """Use fixed stratified subsets of this many train, validation and test images; default: everything."""
    unlabelled: Annotated[int, Field(ge=0)] | None = added(None)
    """stl10 only: how many of the unlabelled images pre-training uses; default: all."""
    stream: StreamConfig | None = added(None)
    """Order of its own, memory and shifts; default: every image in every epoch, in random order."""
    generated: bool = added(False)
    """Random images of the data set's shape instead of its files: for timing and smoke tests, never for a claim."""
    mixture: Mixture | None = added(None)
    """Pre-training draws from several image sets by their weights, and probes each by its own labels; ``name``, one of
    them, is the set that the run is judged by. Within a set every image is drawn before any is drawn again."""
    epoch_images: Annotated[int, Field(ge=4)] | None = added(None)
    """mixture only: images of an epoch, all sets together."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        mixed = named(values.get("mixture"))
        if mixed:
            values.setdefault("name", mixed[0])
        facts = SETS.get(values.get("name", "digits")) if isinstance(values.get("name", "digits"), str) else None
        transform = values.get("transform", "rotation")
        if facts is None or transform not in TRANSFORMS:
            values.setdefault("canvas", 12)
            values.setdefault("observed_views", 3)
            return  # the field's own check says what is allowed
        planar, affine = transform in PLANAR, transform == "affine"
        side = 12 if facts.side == 8 else 32 if transform == "glimpse" else facts.side
        if transform == "standard":
            widest = max(facts.side, *(SETS[one].side for one in mixed)) if mixed else facts.side
            side = 32 if widest == 8 else widest
        if values.get("observed_views") is None:
            values["observed_views"] = 1 if transform == "standard" else 3
        if values.get("canvas") is None:
            values["canvas"] = side
        warps = "data.transform=rotation or affine"
        only_when(values, "content", planar, warps, facts.side)
        if values.get("angle_steps") is not None and values.get("max_angle") is not None:
            raise ValueError(
                f"angle_steps = {values['angle_steps']!r} and max_angle = {values['max_angle']!r} "
                "are two distributions of the angle; give one"
            )
        only_when(values, "angle_steps", transform == "rotation", "data.transform=rotation", None)
        only_when(values, "max_angle", planar, warps, None if values.get("angle_steps") else 180.0)
        if values.get("scale_range") is not None and values.get("max_log_scale") is not None:
            raise ValueError(
                f"scale_range = {values['scale_range']!r} and max_log_scale = {values['max_log_scale']!r} "
                "are two distributions of the scale; give one"
            )
        only_when(values, "max_shift", affine, "data.transform=affine", 0.2)
        only_when(values, "scale_range", affine, "data.transform=affine", None)
        only_when(values, "max_log_scale", affine, "data.transform=affine", None if values.get("scale_range") else 0.25)
        only_when(values, "augment", transform == "augment", "data.transform=augment", {})
        only_when(values, "glimpse", transform == "glimpse", "data.transform=glimpse", {})
        only_when(values, "standard", transform == "standard", "data.transform=standard", {})
        only_when(values, "epoch_images", values.get("mixture") is not None, "data.mixture", None)
        only_when(values, "unlabelled", facts.unlabelled > 0, "data.name=stl10", None)
        drop_spelled_out(values, facts)

    @model_validator(mode="after")
    def _fits(self) -> DataConfig:
        facts = SETS[self.name]
        if self.content is not None and self.content > self.canvas:
            raise ValueError(f"content = {self.content} must not exceed canvas = {self.canvas}")
        if self.transform != "standard" and (self.transform == "object") != (facts.views > 1):
            kinds = ", ".join(name for name, other in SETS.items() if other.views > 1)
            raise ValueError(
                f"transform = {self.transform!r}: name = {self.name!r} has no such views; object goes with {kinds}"
            )
        if self.transform == "object" and self.observed_views + 1 > facts.views:
            raise ValueError(
                f"observed_views = {self.observed_views} + 1 must not exceed the {facts.views} views of an object"
            )
        if self.transform in ("augment", "glimpse") and facts.channels != 3:
            raise ValueError(f"transform = {self.transform!r} needs colour images, name = {self.name!r} is grey")
        if self.transform in ("object",) and self.canvas != facts.side:
            raise ValueError(f"canvas = {self.canvas} must be {facts.side}, the side of a recorded view of {self.name}")
        if self.transform == "glimpse" and self.canvas > facts.side:
            raise ValueError(f"canvas = {self.canvas} must not exceed the image's side, {facts.side}")
        if self.standard is not None:
            self._standard(self.standard, channels(self))
        if self.hue_action and self.transform != "object":
            raise ValueError("hue_action = True has a meaning only with data.transform=object; remove it")
        if self.anchor_first and self.transform not in PLANAR:
            raise ValueError("anchor_first = True has a meaning only with data.transform=rotation or affine; remove it")
        if self.action_scale == "views" and self.transform != "augment":
            raise ValueError(f"action_scale = 'views' is defined for data.transform=augment, not {self.transform}")
        if self.augment is not None and (self.augment.blur or self.augment.target_blur) and self.canvas <= 20:
            raise ValueError(
                f"canvas = {self.canvas}: the blur's kernel, a tenth of the canvas, would be one pixel and do nothing;"
                " take 21 or more, or augment.blur=0 and augment.target_blur=0"
            )
        if self.normalize == "dataset" and facts.statistics is None:
            raise ValueError(f"normalize = 'dataset': no published statistics of {self.name}; use none")
        if self.scale_range is not None and not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise ValueError(f"scale_range = {self.scale_range} must satisfy 0 < low <= high")
        if self.mixture is not None:
            check_mixture(self)
        if self.generated and not any(SETS[one.name].test_is_published for one in members(self)):
            raise ValueError(f"generated = True: {self.name} needs no files; remove it")
        check_sizes(self.name, self.sizes, self.select_on, "sizes")
        if self.unlabelled is not None and self.unlabelled > facts.unlabelled:
            raise ValueError(
                f"unlabelled = {self.unlabelled} must not exceed {facts.unlabelled}, all there is in {self.name}"
            )
        if self.stream is not None:
            unlabelled = facts.unlabelled if self.unlabelled is None else self.unlabelled
            check_data(self, facts.classes, facts.channels, unlabelled)
        return self

    @property
    def swept(self) -> bool:
        """Whether views can be rendered at every value of one factor alone."""
        return self.transform in PLANAR or self.name == "mini3d"

    def _standard(self, views: StandardConfig, channels: int) -> None:
        """Raise ValueError for what views without actions have not."""
        if views.recipe in COLOURED and channels != 3:
            raise ValueError(f"standard.recipe = {views.recipe!r} needs colour images, name = {self.name!r} is grey")
        if self.observed_views != 1:
            raise ValueError(
                f"observed_views = {self.observed_views} must be 1 with data.transform=standard; remove it"
            )
        unread = {"action_scale": (self.action_scale, "feature_std"), "pad_action": (self.pad_action, 0)}
        for name, (value, default) in unread.items():
            if value != default:
                raise ValueError(f"{name} = {value!r} has a meaning only with actions; remove it")
        if views.recipe == "whole" and views.views > 1:
            raise ValueError(f"standard.views = {views.views}: views of recipe=whole are the same image; use another")
