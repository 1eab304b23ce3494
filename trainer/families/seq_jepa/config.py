"""The settings of a seq-JEPA run: model, teacher and loss terms (scientific), and what is measured of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model, model_validator

from trainer.config import AGGREGATORS, REGULARISERS, EncoderConfig, EvalConfig, RateConfig, RunConfig, SharpenConfig
from trainer.config.aggregators import CodingNode
from trainer.config.averaging import AveragingNode
from trainer.config.consolidation import ConsolidateConfig
from trainer.config.evaluation import Epochs
from trainer.config.local import LocalConfig, check_local
from trainer.config.node import Node, NonNegative, Positive, added, one_of, only_when
from trainer.config.parts import PREDICTOR_SETTINGS, PREDICTORS
from trainer.config.sets import split_sizes
from trainer.families.seq_jepa.continual.rules import check_stream

CONTROLS = {name: part.config for name, part in REGULARISERS.items() if name != "rate"}
"""Regularisers that are there only with a weight; the rate is always measured."""


_OWN = {name: (part.config, "aggregator", name) for name, part in AGGREGATORS.items() if part.config} | {
    f"predictor_{name}": (kind, "predictor", name) for name, kind in PREDICTOR_SETTINGS.items()
}
"""Settings of one part alone, by field: their type, and the setting and value they belong to."""
_Parts = create_model(
    "_Parts", __base__=Node, **{name: (kind | None, added(None)) for name, (kind, *_) in _OWN.items()}
)


class ModelConfig(_Parts):
    """Encoder, action embedding, aggregator and predictor."""

    encoder: EncoderConfig = EncoderConfig()
    action_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the embedded action; the aggregator works on encoder features + action_dim."""
    aggregator: Annotated[str, one_of(AGGREGATORS)] = added("transformer")
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    ffn_ratio: Annotated[float, Field(gt=0, le=16)] | None = None
    """Hidden width of the aggregator's layers over their own; not of crate and crate_alpha, which have none."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    time_embedding: bool = added(False)
    """Add a learned embedding of a view's number to its token."""
    predictor: Annotated[str, one_of(PREDICTORS)] = added("mlp")
    predictor_hidden: Annotated[int, Field(ge=0, le=65536)] | None = None
    """predictor=mlp only: its hidden width; 0 means a linear predictor followed by batch-norm."""
    condition: Literal["both", "aggregator", "predictor", "none"] = added("both")
    """Which modules are told the actions (paper table 4); without them the aggregator's tokens are the bare codes."""
    norm: Literal["batch", "running", "frozen", "per_segment", "group"] = added("batch")
    """What takes the place of batch-norm where a batch is small or its statistics move (see
    :mod:`trainer.blocks.stream_norm`)."""
    action_norm: Literal["true_actions", "upstream"] = added("true_actions")
    """Batch-norm statistics of the action embedding. true_actions: one pass over the M true actions. upstream: the
    paper's
    code: one pass for the aggregator that includes the empty slot's zeros, another for the predictor's action."""

    @property
    def token_width(self) -> int:
        """Width of the aggregator's tokens and of z_agg."""
        return self.encoder.features + (self.action_dim if self.condition in ("both", "aggregator") else 0)

    @property
    def white_box(self) -> bool:
        """Whether a part is made of layers whose subspaces and codes can be measured."""
        own = (self.encoder.crate, getattr(self, self.aggregator, None), self.predictor_crate)
        return any(isinstance(settings, CodingNode) for settings in own)

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        parts = {"aggregator": "transformer", "predictor": "mlp"}
        chosen = {part: str(values.get(part, default)) for part, default in parts.items()}
        for field, (_, part, name) in _OWN.items():
            only_when(values, field, chosen[part] == name, f"model.{part}={name}", {})
        reading = [name for name, part in AGGREGATORS.items() if "ffn_ratio" not in part.unread]
        # what is no name is refused by its own rule
        ffn = chosen["aggregator"] in reading or chosen["aggregator"] not in AGGREGATORS
        only_when(values, "ffn_ratio", ffn, f"model.aggregator={' or '.join(reading)}", 4.0)
        own = chosen["predictor"] in PREDICTOR_SETTINGS
        only_when(values, "predictor_hidden", not own, "model.predictor=mlp", 128)

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        own, unread = getattr(self, self.aggregator, None), AGGREGATORS[self.aggregator].unread
        for name in unread:
            value, usual = getattr(self, name), type(self).model_fields[name].default
            if value != usual:
                raise ValueError(
                    f"model.{name} = {value!r} does nothing with model.aggregator={self.aggregator}; leave it at"
                    f" {usual!r}"
                )
        if "heads" not in unread and (own is None or own.expand is None) and self.token_width % self.heads:
            raise ValueError(
                f"model.heads = {self.heads} must divide the token width {self.token_width} "
                f"(= {self.encoder.features} encoder features + {self.token_width - self.encoder.features} action)"
            )
        if self.predictor_crate is not None and self.token_width % self.predictor_crate.heads:
            raise ValueError(
                f"model.predictor_crate.heads = {self.predictor_crate.heads} must divide the token width"
                f" {self.token_width}"
            )
        return self


class EmaConfig(AveragingNode):
    """The moving-average teacher (only with teacher=ema)."""

    anneal: bool = True
    """Raise tau to 1 by a cosine over the horizon, as BYOL and the paper do; off, tau is constant, as in the log."""
    per_epoch: bool = added(False)
    """Change tau between epochs only, as the paper's code does."""

    @model_validator(mode="after")
    def _per_epoch_of_something(self) -> EmaConfig:
        if self.per_epoch and not self.anneal:
            raise ValueError("per_epoch = True has a meaning only with ema.anneal=true; remove it")
        return self


class _Weights(Node):
    """Factor of each loss term; the loop minimises their weighted sum."""

    predict: Positive = 1.0
    rate: NonNegative = 0.0
    """lambda_rate. The term is minus the rate, so a positive weight spreads the features."""


Weights = create_model("Weights", __base__=_Weights, **{name: (NonNegative, added(0.0)) for name in CONTROLS})
_Controls = create_model(
    "_Controls", __base__=Node, **{name: (kind | None, added(None)) for name, kind in CONTROLS.items()}
)


class ObjectiveConfig(_Controls):
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
    consolidate: ConsolidateConfig | None = added(None)
    """Hold weights that mattered for earlier segments of a stream."""
    local: LocalConfig | None = added(None)
    """Losses of single blocks."""
    rate: RateConfig = RateConfig()
    weights: Weights = Weights()

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        only_when(values, "ema", values.get("teacher", "stopgrad") == "ema", "objective.teacher=ema", {})
        weights = values.get("weights")
        for name in CONTROLS:
            weight = weights.get(name) if isinstance(weights, dict) else getattr(weights, name, 0)
            only_when(values, name, bool(weight), f"objective.weights.{name} above 0", {})

    @model_validator(mode="after")
    def _consistent(self) -> ObjectiveConfig:
        if self.symmetric and self.rate.window is not None:
            raise ValueError(
                "symmetric = True with rate.window: both directions would share one past; remove one of them"
            )
        if self.double_bn and self.teacher == "ema":
            raise ValueError("double_bn = True has a meaning only with objective.teacher=stopgrad or shared; remove it")
        if self.double_bn and self.target_bn != "batch":
            raise ValueError(
                "double_bn = True needs objective.target_bn=batch: stored statistics are not updated by the target view"
            )
        return self


class SubspaceConfig(Node):
    """Subspace diagnostics on true factor sweeps (``trainer.subspace``)."""

    epochs: Epochs = ()
    """Epochs after which they run; empty: never."""
    anchors: Annotated[int, Field(ge=4, le=4096)] = 64
    """Validation images that are swept."""
    steps: Annotated[int, Field(ge=8, le=360)] = 36
    """Values per factor, over the factor's range (an angle's end point is its start, and left out)."""
    views: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(strict=False)] | None = None
    """Numbers of views whose aggregate is measured; default: 1, 2 and data.observed_views."""


class SeqJEPAEvalConfig(EvalConfig):
    """Also in which variant the probes run. What they measure is fixed in ``trainer.families.seq_jepa.probing``."""

    action_probe: bool = False
    """Also train an action probe beside the model, as the research log and the paper's code do: an MLP on [z_1;
    z_2]."""
    probe_bn: Literal["eval", "train"] = "eval"
    """Batch-norm while features for probes are taken. train: batch statistics, as the paper's evaluation code."""
    pair_target: Literal["encoder", "target_branch"] = "encoder"
    """Which network encodes the second view of a pair when M = 1; target_branch is what the paper's code does."""
    subspace: SubspaceConfig = SubspaceConfig()


class SeqJEPAConfig(RunConfig):
    """The whole configuration."""

    streams: ClassVar[bool] = True
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    eval: SeqJEPAEvalConfig = SeqJEPAEvalConfig()

    @model_validator(mode="after")
    def _one_model(self) -> SeqJEPAConfig:
        if self.data.transform == "standard":
            raise ValueError("data.transform = 'standard': family seq_jepa predicts along actions, which it has not")
        if self.eval.pair_target != "encoder" and self.data.observed_views > 1:
            raise ValueError(
                f"eval.pair_target = {self.eval.pair_target!r} differs only with data.observed_views=1; remove it"
            )
        if self.data.observed_views == 1 and self.model.condition == "aggregator":
            raise ValueError(
                "model.condition = 'aggregator' with data.observed_views=1: no action lies between observed views; use"
                " none"
            )
        if self.model.condition == "none" and self.model.action_norm != "true_actions":
            raise ValueError(
                f"model.action_norm = {self.model.action_norm!r} with model.condition=none: nothing is told an action;"
                " remove it"
            )
        if self.eval.action_probe and self.data.observed_views == 1:
            raise ValueError(
                "eval.action_probe = True needs data.observed_views of 2 or more: it reads the codes of two observed"
                " views"
            )
        self.model.encoder.check_side("data.canvas", self.data.canvas)
        held = split_sizes(self.data)[2 if self.data.select_on == "test" else 1]
        if self.eval.subspace.epochs and held < 4:
            raise ValueError(
                f"eval.subspace.epochs: diagnostics sweep 4 {self.data.select_on} images or more, data.sizes leaves"
                f" {held}"
            )
        if self.eval.subspace.epochs and not (self.data.swept or self.model.white_box):
            raise ValueError(
                "eval.subspace.epochs: factor sweeps are defined for rotation, affine and mini3d, not"
                f" {self.data.transform} of {self.data.name}, and the model has no white-box layers"
            )
        check_stream(self)
        check_local(self)
        return self

    @property
    def one_worker(self) -> str | None:
        if self.objective.local is not None:
            return "objective.local: a block's gradient is taken before workers share theirs"
        if self.objective.consolidate is not None:
            return "objective.consolidate: gradients are taken apart before workers share them"
        if self.data.stream is not None and self.data.stream.replay is not None:
            return "data.stream.replay: a memory belongs to one worker"
        return None

    @property
    def unrecorded(self) -> str | None:
        if self.model.norm == "running":
            return "model.norm = 'running' counts its batches"
        if self.objective.local is not None and self.objective.local.stage == "aggregator":
            return "objective.local.stage = 'aggregator' freezes the encoder after some step"
        return None
