"""The typed configuration of one run: every field with its unit, default and rule.

A configuration is built by ``trainer.presets.load`` from a preset and overrides and is then
immutable. Importing this module costs neither torch nor ray.

Fields marked *scientific* below decide what is learnt and enter the arm's identity
(``trainer.identity``); ``seed``, ``epochs``, ``eval``, ``gates`` and ``runtime`` do not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Node(BaseModel):
    """A frozen branch of the tree; unknown keys, other types (true is not 1), NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


def _only_when(values: Any, field: str, condition: bool, when: str, default: Any) -> None:
    """Resolve a field that means something only under another setting.

    Under the condition a missing value becomes ``default``; otherwise giving one is an error, so
    that no option is read and ignored and no unused value splits one arm into two.
    """
    if condition:
        if values.get(field) is None:
            values[field] = default
    elif values.get(field) is not None:
        raise ValueError(f"{field} = {values[field]!r} has a meaning only with {when}; remove it")


class DataConfig(Node):
    """Images and the transformation that relates their views (scientific)."""

    name: Literal["digits"] = "digits"
    transform: Literal["rotation", "affine"] = "rotation"
    observed_views: Annotated[int, Field(ge=1, le=16)] = 3
    """M: views the aggregator sees; one more view is the target."""
    draws_per_epoch: Annotated[int, Field(ge=1, le=64)] = 1
    """How often each training image is drawn per epoch, each time with new views."""
    canvas: Annotated[int, Field(ge=8, le=256)] = 12
    """Side of a rendered view in pixels."""
    content: Annotated[int, Field(ge=4, le=256)] = 8
    """Side of the image inside the canvas, in pixels, before any transformation."""
    max_angle: Annotated[float, Field(gt=0, le=180)] = 180.0
    """Rotation is uniform in +-max_angle degrees."""
    max_shift: Annotated[float, Field(ge=0, le=1)] | None = None
    """affine only: translation is uniform in +-max_shift of half the canvas, per axis."""
    max_log_scale: Annotated[float, Field(ge=0, le=1)] | None = None
    """affine only: the logarithm of the scale is uniform in +-max_log_scale."""
    anchor_first: bool = False
    """Leave the first view untransformed, as the research log did."""
    action_scale: Literal["feature_std", "none"] = "feature_std"
    """Divide each action component by its fixed standard deviation over the training stream, or not."""

    @model_validator(mode="before")
    @classmethod
    def _affine_ranges(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            affine = values.get("transform", "rotation") == "affine"
            _only_when(values, "max_shift", affine, "data.transform=affine", 0.2)
            _only_when(values, "max_log_scale", affine, "data.transform=affine", 0.25)
        return values

    @model_validator(mode="after")
    def _content_fits(self) -> DataConfig:
        if self.content > self.canvas:
            raise ValueError(f"content = {self.content} must not exceed canvas = {self.canvas}")
        return self


class EncoderConfig(Node):
    """The view encoder f (scientific)."""

    name: Literal["conv", "resnet18"] = "conv"
    width: Annotated[int, Field(ge=1, le=1024)] = 8
    """Channels after the stem; conv ends with 4 x width features, resnet18 with 8 x width (64 is standard)."""


class ModelConfig(Node):
    """seq-JEPA's modules (paper section 3, appendix A; scientific)."""

    encoder: EncoderConfig = EncoderConfig()
    action_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the embedded action; the aggregator works on encoder features + action_dim."""
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    ffn_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    predictor_hidden: Annotated[int, Field(ge=0, le=65536)] = 128
    """Hidden width of the predictor; 0 means a linear predictor followed by batch-norm."""


class EmaConfig(Node):
    """The moving-average teacher (scientific; only with teacher=ema)."""

    half_life: Annotated[float, Field(gt=0, le=1)] | None = None
    """Steps after which a weight's share has halved, as a fraction of the schedule's horizon."""
    decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """tau itself; exclusive with half_life."""
    anneal: bool = True
    """Raise tau to 1 by a cosine over the horizon, as BYOL and the paper do."""

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


class RateConfig(Node):
    """The coding rate R of a feature (scientific).

    ``unit``: R = 1/2 logdet(I + d/(n eps2) Z'Z) on unit-norm rows, times (d+n)/(dn), so that one
    weight transfers across d and n (MCR2, 2006.08558; scaling as in SimDINO, 2502.10385).
    ``ln``: logdet(I + alpha C), C the covariance of features normalised without gain.
    ``log``: logdet((1 + 1e-4) I + alpha C) on the features as they are, the research log's form;
    it has no upper bound because a norm's gain can grow.
    """

    form: Literal["unit", "ln", "log"] = "unit"
    on: Literal["agg", "z", "both"] = "agg"
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
            _only_when(values, "eps2", unit, "rate.form=unit", 0.05)
            _only_when(values, "alpha", not unit, "rate.form=ln or log", 1.0)
            _only_when(values, "center", unit, "rate.form=unit", False)
        return values


class Weights(Node):
    """Factor of each loss term; the loop minimises their weighted sum."""

    predict: Positive = 1.0
    rate: NonNegative = 0.0
    """lambda_rate. The term is minus the rate, so a positive weight spreads the features."""


class ObjectiveConfig(Node):
    """What is minimised and where the target comes from (scientific)."""

    teacher: Literal["ema", "stopgrad", "shared"] = "stopgrad"
    """Target branch: a moving average, the encoder without gradient, or with it (collapse control)."""
    ema: EmaConfig | None = None
    rate: RateConfig = RateConfig()
    weights: Weights = Weights()

    @model_validator(mode="before")
    @classmethod
    def _ema_only(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            _only_when(values, "ema", values.get("teacher", "stopgrad") == "ema", "objective.teacher=ema", {})
        return values


class OptimConfig(Node):
    """AdamW; norms, biases and tokens are not decayed (scientific)."""

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: NonNegative = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    batch_size: Annotated[int, Field(ge=4, le=65536)] = 64
    """Sequences per optimiser step, over all workers."""
    clip_norm: Positive | None = None


class ScheduleConfig(Node):
    """Learning rate as a function of the step alone (scientific).

    ``horizon_epochs`` is the length the schedule is made for; ``RunConfig.epochs`` says how far we run,
    so a 30-epoch gate can judge the beginning of a 2000-epoch schedule.
    """

    name: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: NonNegative = 2.0
    horizon_epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    final_lr_ratio: Fraction | None = None
    """cosine only: learning rate at the horizon as a fraction of optim.lr."""

    @model_validator(mode="before")
    @classmethod
    def _cosine_only(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            cosine = values.get("name", "cosine") == "cosine"
            _only_when(values, "final_lr_ratio", cosine, "schedule.name=cosine", 0.01)
        return values

    @model_validator(mode="after")
    def _warmup_fits(self) -> ScheduleConfig:
        if self.warmup_epochs >= self.horizon_epochs:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs} must be below horizon_epochs = {self.horizon_epochs}"
            )
        return self


class EvalConfig(Node):
    """When the dearer probes run. What they measure is fixed in ``trainer.probes``."""

    probe_epochs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = (3, 9, 27)
    """Epochs after which the action and leakage probes are fitted; the last epoch is always one."""


class GateConfig(Node):
    """A go/no-go rule. Every part named must hold; a missing or non-finite metric fails it.

    Thresholds are relative to the same run's untrained encoder (epoch 0) because on easy data an
    untrained encoder already scores well above a collapsed one.
    """

    epoch: Annotated[int, Field(ge=1)]
    """Judged on the records of this epoch."""
    linacc_gain_min: float | None = None
    """Points of linear accuracy on the aggregate above the untrained encoder."""
    rank_agg_ratio_min: Positive | None = None
    """Effective rank of the aggregate divided by the untrained one."""
    rank_agg_min: Positive | None = None
    rank_z_min: Positive | None = None
    r2_action_min: float | None = None
    predict_max: Positive | None = None
    """Validation prediction loss, 1 - cosine."""

    @model_validator(mode="after")
    def _says_something(self) -> GateConfig:
        if self.rank_agg_ratio_min is None and self.rank_agg_min is None:
            raise ValueError("a gate needs rank_agg_ratio_min or rank_agg_min, or a collapsed run could pass it")
        return self


class RuntimeConfig(Node):
    """How the run is executed; never changes what is learnt."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """torch threads per training process; several processes share a machine best with one each."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between checkpoints; the last epoch always writes one."""
    across_commits: bool = False
    """Continue or re-use a run that another commit of this code has recorded."""
    seconds_per_epoch: Positive | None = None
    """Measured cost of one epoch on one core, for --dry-run's estimate only."""


class RunConfig(Node):
    """One run: an arm, a seed, and how far and where to run it."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    """scientific: bf16 means autocast with fp32 weights, norms and rate."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 30
    """Where to stop; 0 measures the untrained encoder."""
    eval: EvalConfig = EvalConfig()
    gates: dict[str, GateConfig] = {}
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.epochs > self.schedule.horizon_epochs:
            raise ValueError(
                f"epochs = {self.epochs} must not exceed schedule.horizon_epochs = "
                f"{self.schedule.horizon_epochs}, where the schedule ends"
            )
        encoder = self.model.encoder
        features = encoder.width * (4 if encoder.name == "conv" else 8)
        tokens = features + self.model.action_dim
        if tokens % self.model.heads:
            raise ValueError(
                f"model.heads = {self.model.heads} must divide the token width {tokens} "
                f"(= {features} encoder features + {self.model.action_dim} action)"
            )
        images = TRAIN_IMAGES[self.data.name] * self.data.draws_per_epoch
        if self.optim.batch_size > images:
            raise ValueError(f"optim.batch_size = {self.optim.batch_size} must not exceed the {images} images per epoch")
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; the remainder of each epoch's order is left out."""
        return TRAIN_IMAGES[self.data.name] * self.data.draws_per_epoch // self.optim.batch_size

    @property
    def horizon_steps(self) -> int:
        return self.schedule.horizon_epochs * self.steps_per_epoch


# train, validation, test: fixed stratified splits by index (trainer.data.splits)
SPLITS = {"digits": (1100, 300, 397)}
TRAIN_IMAGES = {name: sizes[0] for name, sizes in SPLITS.items()}
