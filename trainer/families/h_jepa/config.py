"""The settings of an H-JEPA run: encoder, predictor, masks, levels and loss terms (scientific)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from trainer.config import REGULARISERS, EncoderConfig, RunConfig
from trainer.config.averaging import AveragingNode
from trainer.config.data import DataConfig
from trainer.config.node import Node, NonNegative, Positive, only_when
from trainer.config.paired import PAIRED

Range = Annotated[tuple[float, float], Field(strict=False)]
SPREADING = {name: part.config for name, part in REGULARISERS.items()} | {n: p.config for n, p in PAIRED.items()}
"""Regularisers of the pooled features, by the name of their weight."""


class PredictorConfig(Node):
    """A narrow transformer that fills in hidden places."""

    width: Annotated[int, Field(ge=4, le=4096)] = 32
    depth: Annotated[int, Field(ge=1, le=48)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 2


class MaskConfig(Node):
    """Which patches are hidden, drawn anew in every step (I-JEPA, 2301.08243, A.1)."""

    targets: Annotated[int, Field(ge=1, le=16)] = 4
    """Blocks to predict, of one size in a batch."""
    target_scale: Range = (0.15, 0.2)
    """Area of a block as a fraction of the grid; twice as much on each coarser level."""
    context_scale: Range = (0.85, 1.0)
    """Area of the block that is shown, without what is to be predicted."""
    aspect: Range = (0.75, 1.5)
    """Height over width of a target block."""
    min_keep: Annotated[int, Field(ge=1, le=4096)] = 4
    """Patches shown of every image are more than this."""
    placement: Literal["everywhere", "published"] = "everywhere"
    """published: as I-JEPA's code, in which no block reaches the last row or column and what a batch shows beyond its
    smallest context is cut off at the bottom; everywhere: neither."""

    @model_validator(mode="after")
    def _ranges(self) -> MaskConfig:
        for name in ("target_scale", "context_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} = {(low, high)} must satisfy 0 < low <= high <= 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect = {self.aspect} must satisfy 0 < low <= high")
        return self


class FpnConfig(Node):
    """A feature pyramid over the levels (1612.03144); the target's is a moving average, as its encoder."""

    merge: Literal["add", "concat"] = "add"
    """How a level meets the coarser one."""
    width: Annotated[int, Field(ge=2, le=4096)] = 32
    """At least 2: a single channel is always 0 once a target is normalised."""


class ProjectorConfig(Node):
    """Two layers with batch-norm in front of the regularisers."""

    hidden: Annotated[int, Field(ge=1, le=65536)] = 128
    width: Annotated[int, Field(ge=1, le=65536)] = 64


class ModelConfig(Node):
    """Encoder, predictor, masks and levels."""

    encoder: EncoderConfig = EncoderConfig(name="vit", width=64)
    predictor: PredictorConfig = PredictorConfig()
    masks: MaskConfig = MaskConfig()
    levels: Annotated[int, Field(ge=1, le=5)] = 1
    """Level l holds means of 2^l x 2^l patches."""
    fpn: FpnConfig | None = None
    projector: ProjectorConfig | None = None
    """None: regularisers see the pooled tokens themselves."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.encoder.vit is None:
            raise ValueError(f"model.encoder.name = {self.encoder.name!r}: only vit can leave out hidden patches")
        predictor = self.encoder.vit.model_copy(update={"heads": self.predictor.heads})
        if why := predictor.problem(self.predictor.width):
            raise ValueError(f"model.predictor: {why}")
        if self.fpn is not None and self.levels == 1:
            raise ValueError("model.fpn has a meaning only with model.levels of 2 or more; remove it")
        return self


class EmaConfig(AveragingNode):
    """How the target follows the encoder."""

    anneal: Literal["linear", "cosine", "none"] = "linear"
    """How the decay goes to 1 over the horizon."""

    def at(self, step: int, horizon: int) -> float:
        """The decay of the update after ``step`` (from 0) of ``horizon`` steps."""
        start = self.decay if self.decay is not None else 2 ** (-1 / (self.half_life * horizon))
        done = {"linear": step / horizon, "cosine": (1 - math.cos(math.pi * step / horizon)) / 2, "none": 0.0}
        return start + (1 - start) * done[self.anneal]


class _Weights(Node):
    """Factor of each loss term beside those of the levels; the loop minimises the weighted sum."""

    cross: NonNegative | None = None
    """Of predicting each view as a whole from each small crop (objective.locals=cross_crop)."""


Weights = create_model("Weights", __base__=_Weights, **dict.fromkeys(SPREADING, (NonNegative, 0.0)))
_Spreading = create_model("_Spreading", __base__=Node, **{n: (kind | None, None) for n, kind in SPREADING.items()})


class ObjectiveConfig(_Spreading):
    """Target branch, prediction loss and regularisers; the latter see the mean of an image's shown patches."""

    teacher: Literal["ema", "stopgrad", "shared"] = "ema"
    """Target branch: a moving average, the encoder without gradient, or with it (collapse control)."""
    ema: EmaConfig | None = None
    normalise: Literal["target", "both_unit"] = "target"
    """target: targets are normalised to mean 0 and variance 1 over their channels, as in I-JEPA. both_unit: targets and
    predictions to length 1, as H-JEPA's report has it."""
    beta: Positive = 1.0
    """Of the smooth L1 distance: the difference at which it turns from quadratic to linear."""
    level_weights: Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1)] | None = None
    """One per level; default: 1.0, 0.7, 0.5, then halves."""
    locals: Literal["local_context", "cross_crop"] | None = None
    """What small crops are for. local_context: their patches join those shown of each view, at their places in it.
    cross_crop: each view as a whole is predicted from each of them, by its place."""
    weights: Weights = Weights()

    @model_validator(mode="before")
    @classmethod
    def _conditional(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            only_when(values, "ema", values.get("teacher", "ema") == "ema", "objective.teacher=ema", {})
            weights = values.get("weights")
            weights = dict(weights) if isinstance(weights, dict) else weights
            for name in SPREADING:
                weight = weights.get(name) if isinstance(weights, dict) else getattr(weights, name, 0)
                only_when(values, name, bool(weight), f"objective.weights.{name} above 0", {})
            if isinstance(weights, dict) or weights is None:
                weights = weights or {}
                cross = values.get("locals") == "cross_crop"
                only_when(weights, "cross", cross, "objective.locals=cross_crop", 1.0)
                values["weights"] = weights
        return values


def block_size(
    u: float, grid: int, scale: tuple[float, float], aspect: tuple[float, float], most: int
) -> tuple[int, int]:
    """Height and width of a block on a square grid: one number of [0, 1) decides its area and its shape, as in I-JEPA.

    Args:
        scale: area as a fraction of the grid, rounded down to whole cells.
        aspect: height over width.
        most: longest side.
    """
    area = int(grid * grid * (scale[0] + u * (scale[1] - scale[0])))
    ratio = aspect[0] + u * (aspect[1] - aspect[0])
    sides = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return tuple(min(max(side, 1), most) for side in sides)


def default_weights(levels: int) -> tuple[float, ...]:
    """1.0, 0.7, 0.5, 0.25, 0.125."""
    return (1.0, 0.7, 0.5, 0.25, 0.125)[:levels]


class HJEPAConfig(RunConfig):
    """The whole configuration."""

    data: DataConfig = DataConfig(transform="standard")
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()

    @model_validator(mode="before")
    @classmethod
    def _levels(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            objective, model = values.get("objective", {}), values.get("model", {})
            levels = model.get("levels", 1) if isinstance(model, dict) else getattr(model, "levels", None)
            if isinstance(objective, dict) and objective.get("level_weights") is None and isinstance(levels, int):
                values["objective"] = {**objective, "level_weights": default_weights(levels)}
        return values

    @model_validator(mode="after")
    def _one_model(self) -> HJEPAConfig:
        data, model, objective = self.data, self.model, self.objective
        if data.transform != "standard":
            raise ValueError(
                f"data.transform = {data.transform!r}: family h_jepa predicts hidden patches, not actions; use standard"
            )
        if len(objective.level_weights) != model.levels:
            raise ValueError(
                f"objective.level_weights = {objective.level_weights} must have one weight per level, model.levels ="
                f" {model.levels}"
            )
        if (data.standard.locals is None) != (objective.locals is None):
            raise ValueError(
                f"objective.locals = {objective.locals!r} and data.standard.locals go together: small crops are made"
                " for what they are used for"
            )
        if objective.weights.cross == 0:
            raise ValueError("objective.weights.cross = 0 leaves the small crops without a use; remove them instead")
        for name in PAIRED:
            if getattr(objective, name) is not None and data.standard.views < 2:
                raise ValueError(
                    f"objective.weights.{name} = {getattr(objective.weights, name)} compares views of an image; it"
                    f" needs data.standard.views of 2 or more, not {data.standard.views}"
                )
        if data.standard.views > 1 and objective.rate is not None and objective.rate.window is not None:
            raise ValueError(
                f"objective.rate.window with data.standard.views = {data.standard.views}: the views of an image would"
                " be each other's past; remove one of them"
            )
        if model.projector is not None and not any(getattr(objective, name) for name in SPREADING):
            raise ValueError("model.projector is in front of the regularisers, and all their weights are 0; remove it")
        self._sides()
        if not any(objective.level_weights):
            raise ValueError(f"objective.level_weights = {objective.level_weights} leave nothing to predict")
        return self

    def _sides(self) -> None:
        """Raise ValueError for images that are no whole number of patches, and masks that leave nothing."""
        encoder, local = self.model.encoder, self.data.standard.locals
        encoder.check_side("data.canvas", self.data.canvas)
        if local is not None:
            encoder.check_side("data.standard.locals.side", local.side)
        if self.grid < 2 ** (self.model.levels - 1) * 2:
            raise ValueError(
                f"model.levels = {self.model.levels}: the coarsest level of {self.grid} x {self.grid} patches would be"
                " one cell; take fewer levels or smaller patches"
            )
        masks, most = self.model.masks, self.grid - (self.model.masks.placement == "published")
        least = min(block_size(u / 1000, self.grid, masks.context_scale, (1.0, 1.0), most) for u in range(1000))
        if least[0] * least[1] <= masks.min_keep:
            raise ValueError(
                f"model.masks.min_keep = {masks.min_keep}: a context block may have {least[0] * least[1]} patches of"
                f" the {self.grid} x {self.grid}; take fewer"
            )

    @property
    def unrecorded(self) -> str:
        return "family h_jepa draws its masks between the steps"

    @property
    def grid(self) -> int:
        """Patches along the side of a view."""
        return self.data.canvas // self.model.encoder.vit.patch
