"""What is minimised and where the target comes from (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, NonNegative, Positive, added, only_when

On = Literal["agg", "z", "both"]


class EmaConfig(Node):
    """The moving-average teacher (only with teacher=ema)."""

    half_life: Annotated[float, Field(gt=0, le=1)] | None = None
    """Steps after which a weight's share has halved, as a fraction of the schedule's horizon."""
    decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """tau itself; exclusive with half_life."""
    anneal: bool = True
    """Raise tau to 1 by a cosine over the horizon, as BYOL and the paper do; off, tau is constant, as in the log."""
    per_epoch: bool = added(False)
    """Change tau between epochs only, as the paper's code does."""

    @model_validator(mode="before")
    @classmethod
    def _one_of(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            if values.get("half_life") is not None and values.get("decay") is not None:
                raise ValueError(
                    f"half_life = {values['half_life']!r} and decay = {values['decay']!r} say the same thing; give one"
                )
            if values.get("half_life") is None and values.get("decay") is None:
                values["half_life"] = 0.05
        return values

    @model_validator(mode="after")
    def _per_epoch_of_something(self) -> EmaConfig:
        if self.per_epoch and not self.anneal:
            raise ValueError("per_epoch = True has a meaning only with ema.anneal=true; remove it")
        return self


class RateConfig(Node):
    """The coding rate R of a feature.

    ``unit``: R = 1/2 logdet(I + d/(n eps2) Z'Z) on unit-norm rows, times (d+n)/(dn), so that one
    weight transfers across d and n (MCR2, 2006.08558; scaling as in SimDINO, 2502.10385).
    ``ln``: logdet(I + alpha C), C the covariance of features normalised without gain.
    ``log``: logdet((1 + 1e-4) I + alpha C) on the features as they are, the research log's form;
    it has no upper bound because a norm's gain can grow.
    """

    form: Literal["unit", "ln", "log"] = "unit"
    on: On = "agg"
    """agg: the aggregate; z: the codes of all observed views; both: the mean of the two terms."""
    eps2: Annotated[float, Field(gt=0, le=100)] | None = None
    """unit only: the distortion, squared."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """ln and log only."""
    center: bool | None = None
    """Subtract the batch mean first; off for unit, always on for ln and log."""

    @model_validator(mode="before")
    @classmethod
    def _per_form(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            unit = values.get("form", "unit") == "unit"
            only_when(values, "eps2", unit, "rate.form=unit", 0.05)
            only_when(values, "alpha", not unit, "rate.form=ln or log", 1.0)
            only_when(values, "center", unit, "rate.form=unit", False)
        return values


class SigRegConfig(Node):
    """Sketched isotropic Gaussian regularisation (LeJEPA, 2511.08544): a control for the rate that also fixes scale."""

    on: On = "agg"
    slices: Annotated[int, Field(ge=1, le=65536)] = 256
    """Random unit directions, drawn anew each step."""
    knots: Annotated[int, Field(ge=3, le=1001)] = 17
    """Points in [0, 3] at which the empirical characteristic function is compared with the Gaussian's."""


class VicRegConfig(Node):
    """Variance and covariance terms of VICReg (2105.04906), without its invariance term: the second control."""

    on: On = "agg"
    variance: NonNegative = 1.0
    covariance: NonNegative = 0.04
    """1 : 0.04 is the paper's 25 : 1."""

    @model_validator(mode="after")
    def _something(self) -> VicRegConfig:
        if self.variance == 0 and self.covariance == 0:
            raise ValueError("variance = 0 and covariance = 0 leave nothing of vicreg; set objective.weights.vicreg=0 instead")
        return self


class SharpenConfig(Node):
    """Sharpened targets, instead of the cosine distance to the raw target code.

    ``dino``: cross-entropy between the softmax of the centred target and the prediction's log-softmax, each
    with its temperature (DINO, 2104.14294). ``center_cosine``: cosine distance to the centred target. ``log_cosine``:
    what the research log's code computed: cosine distance between the raw prediction and the softmaxed target.
    The centre is a moving average of target codes over all workers, read before it is updated.
    """

    form: Literal["dino", "center_cosine", "log_cosine"] = "dino"
    target_temperature: Positive | None = None
    prediction_temperature: Positive | None = None
    center_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @model_validator(mode="before")
    @classmethod
    def _temperatures(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            form = values.get("form", "dino")
            only_when(values, "target_temperature", form != "center_cosine", "sharpen.form=dino or log_cosine", 0.04)
            only_when(values, "prediction_temperature", form == "dino", "sharpen.form=dino", 0.1)
        return values


class Weights(Node):
    """Factor of each loss term; the loop minimises their weighted sum."""

    predict: Positive = 1.0
    rate: NonNegative = 0.0
    """lambda_rate. The term is minus the rate, so a positive weight spreads the features."""
    sigreg: NonNegative = added(0.0)
    vicreg: NonNegative = added(0.0)


class ObjectiveConfig(Node):
    """Teacher, prediction loss and regularisers."""

    teacher: Literal["ema", "stopgrad", "shared"] = "stopgrad"
    """Target branch: a moving average, the encoder without gradient, or with it (collapse control)."""
    ema: EmaConfig | None = None
    target_bn: Literal["batch", "ema_buffers_eval"] = added("batch")
    """Batch-norm of the target branch. batch: statistics of the target views at hand, as in the paper's code.
    ema_buffers_eval: stored statistics, which for the ema teacher are a moving average of the encoder's."""
    double_bn: bool = added(False)
    """teacher=stopgrad or shared: let the pass over the target view update the encoder's running statistics a second
    time, as the research log did."""
    symmetric: bool = added(False)
    """Also predict the first view from the reversed sequence with inverse actions; both losses are averaged."""
    sharpen: SharpenConfig | None = added(None)
    rate: RateConfig = RateConfig()
    sigreg: SigRegConfig | None = added(None)
    vicreg: VicRegConfig | None = added(None)
    weights: Weights = Weights()

    @model_validator(mode="before")
    @classmethod
    def _conditional(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            only_when(values, "ema", values.get("teacher", "stopgrad") == "ema", "objective.teacher=ema", {})
            weights = values.get("weights")
            for name in ("sigreg", "vicreg"):
                weight = weights.get(name) if isinstance(weights, dict) else getattr(weights, name, 0)
                only_when(values, name, bool(weight), f"objective.weights.{name} above 0", {})
        return values

    @model_validator(mode="after")
    def _consistent(self) -> ObjectiveConfig:
        if self.double_bn and self.teacher == "ema":
            raise ValueError("double_bn = True has a meaning only with objective.teacher=stopgrad or shared; remove it")
        if self.double_bn and self.target_bn != "batch":
            raise ValueError("double_bn = True needs objective.target_bn=batch: stored statistics are not updated by the target view")
        return self


