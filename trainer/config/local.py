"""Learning without end-to-end gradients (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.losses import REGULARISERS
from trainer.config.node import Node, NonNegative, Positive, added, only_when


class LocalConfig(Node):
    """A loss for every block, which trains that block.

    ``lpl``: latent predictive learning (Halvagal & Zenke 2023) on pooled outputs of consecutive views: pull them
    together, push variances apart, decorrelate. ``action_lpl``: the same, but what is pulled towards the next view's
    output is a prediction by the block's own linear map of this output and the action, z + A [z; a].
    """

    rule: Literal["lpl", "action_lpl"] = "action_lpl"
    stage: Literal["auxiliary", "aggregator", "encoder"] = "encoder"
    """auxiliary: beside the main loss, which stays end-to-end. aggregator: the encoder is trained end-to-end for
    ``warm_epochs`` and then frozen; each block of the aggregator predicts the target by a head of its own (with
    rule=lpl without the action). encoder: every block of the encoder learns from its own loss alone; the main loss
    trains what comes after it."""
    weight: Positive = 1.0
    """Of the sum of the blocks' losses."""
    detach_between: bool | None = None
    """auxiliary only: a block's loss trains that block alone, not those before it."""
    warm_epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """aggregator only."""
    readout: Literal["trained", "ridge"] = added("trained")
    """aggregator only: how a block's head comes about. trained: by gradient, with the block. ridge: in closed form in
    every step, from what blocks and targets were in the last hundred or so; the block alone follows the gradient."""
    cached: bool = added(False)
    """aggregator only: once the encoder is frozen every epoch has the sequences of the first one since, so that its
    codes are computed once; (observed_views + 1) x features numbers per sequence are kept."""
    pull: NonNegative | None = None
    push: NonNegative | None = None
    decorrelate: NonNegative | None = None
    """auxiliary and encoder: coefficients of the three terms."""
    stale: bool | None = None
    """auxiliary and encoder: means and variances in the push are those of the batch before."""
    whiten: Annotated[float, Field(ge=0, lt=1)] | None = None
    """auxiliary and encoder: rate at which the inputs of every block but the first lose their correlations, by a
    lateral matrix R <- R - rate x offdiag(correlation) R before its convolution; inspired by decorrelated
    backpropagation (Ahmad et al. 2022), without its other parts."""
    lr_scale: Annotated[tuple[Positive, ...], Field(strict=False)] | None = None
    """auxiliary and encoder: each block's learning rate as a multiple of optim.lr, first block first."""
    clip_norm: Positive | None = None
    """auxiliary and encoder: what the gradient of each block's loss is clipped to, apart from the others."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        stage = values.get("stage", "encoder")
        blocks, of_blocks = stage != "aggregator", "local.stage=auxiliary or encoder"
        only_when(values, "detach_between", stage == "auxiliary", "local.stage=auxiliary", True)
        only_when(values, "warm_epochs", stage == "aggregator", "local.stage=aggregator", 1)
        defaults = {"pull": 1.0, "push": 1.0, "decorrelate": 10.0, "stale": False, "whiten": 0.0}
        for name, default in {**defaults, "lr_scale": None, "clip_norm": None}.items():
            only_when(values, name, blocks, of_blocks, default)

    @model_validator(mode="after")
    def _something(self) -> LocalConfig:
        if self.stage != "aggregator" and (self.cached or self.readout != "trained"):
            what = "cached = True" if self.cached else f"readout = {self.readout!r}"
            raise ValueError(f"local.{what} has a meaning only with local.stage=aggregator; remove it")
        if self.pull == 0 and self.push == 0 and self.decorrelate == 0:
            raise ValueError("local.pull, push and decorrelate are all 0: nothing is learnt; give one of them a value")
        if self.rule == "action_lpl" and self.pull == 0:
            raise ValueError("local.rule = 'action_lpl' with pull = 0 predicts nothing by the action; take rule=lpl")
        if self.stale and self.push == 0:
            raise ValueError("local.stale = True has a meaning only with local.push above 0; remove it")
        if self.stage == "auxiliary" and not self.detach_between and (self.lr_scale or self.clip_norm):
            raise ValueError(
                "local.lr_scale and clip_norm need local.detach_between=true, or a block's loss trains others"
            )
        return self


def check_local(run: Any) -> None:
    """Raise ValueError for local losses that would do nothing or reach further than they say; ``run`` is a family's
    configuration with ``model``, ``objective`` and ``data``."""
    local, objective = run.objective.local, run.objective
    if local is None:
        return
    if run.data.stream is not None:
        raise ValueError("objective.local with data.stream is not defined; remove one of them")
    if objective.symmetric:
        raise ValueError("objective.local with objective.symmetric is not defined; remove one of them")
    stages = run.model.encoder.stages
    if local.stage != "aggregator" and stages is None:
        raise ValueError(
            f"objective.local.stage = {local.stage!r}: encoder {run.model.encoder.name} has no blocks to train apart;"
            " take stage=aggregator, or another encoder"
        )
    if local.lr_scale is not None and len(local.lr_scale) != stages:
        raise ValueError(
            f"objective.local.lr_scale has {len(local.lr_scale)} values, the encoder has {stages} blocks; give one each"
        )
    if objective.teacher == "shared" and local.stage != "auxiliary":
        raise ValueError("objective.teacher = 'shared' would train the encoder end-to-end; take stopgrad or ema")
    if local.stage != "auxiliary":
        for name in REGULARISERS:
            term = getattr(objective, name)
            if term is not None and getattr(objective.weights, name) and term.on != "agg":
                raise ValueError(
                    f"objective.{name}.on = {term.on!r}: with local.stage={local.stage} no gradient of it reaches the"
                    " encoder; take agg"
                )
    if local.cached and objective.target_bn == "batch" and run.model.norm != "group" and not run.model.encoder.patches:
        raise ValueError(
            "local.cached = True: a target is kept, and must not depend on the batch it is in; set"
            " objective.target_bn=ema_buffers_eval or model.norm=group"
        )
    if local.rule == "action_lpl" and local.stage == "aggregator" and run.model.condition == "none":
        raise ValueError(
            "objective.local.rule = 'action_lpl' with model.condition=none: no head is told; take rule=lpl"
        )
    if local.cached and run.runtime.compile:
        raise ValueError("local.cached = True with runtime.compile: kept codes are no recorded step; remove one")
    if local.stage == "aggregator":
        if run.model.aggregator != "transformer" or run.model.dropout:
            raise ValueError("local.stage = 'aggregator' is defined for model.aggregator=transformer without dropout")
        if local.warm_epochs >= run.schedule.horizon_epochs:
            raise ValueError(
                f"local.warm_epochs = {local.warm_epochs} must be below schedule.horizon_epochs ="
                f" {run.schedule.horizon_epochs}, or nothing is learnt locally"
            )
    elif local.rule == "action_lpl" and run.data.observed_views < 2 or local.pull and run.data.observed_views < 2:
        raise ValueError("objective.local needs data.observed_views of 2 or more: it compares consecutive views")
