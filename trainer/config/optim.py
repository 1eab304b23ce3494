"""Optimiser and learning-rate schedule (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Fraction, Node, NonNegative, Positive, added, only_when


class OptimConfig(Node):
    """AdamW; norms, biases and tokens are not decayed."""

    name: Literal["adamw", "adam"] = added("adamw")
    """adam adds the decay to the gradient (L2 regularisation)."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: NonNegative = 1e-3
    decay_on: Literal["matrices", "all"] = added("matrices")
    """all: norms, biases and tokens too, as the research log did."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Sequences per optimiser step, over all workers; below 4 only of a stream."""
    clip_norm: Positive | None = None

    @model_validator(mode="after")
    def _decay_of_something(self) -> OptimConfig:
        if self.decay_on == "all" and self.weight_decay == 0:
            raise ValueError("decay_on = 'all' has a meaning only with optim.weight_decay above 0; remove it")
        return self


class ScheduleConfig(Node):
    """Learning rate as a function of the step alone.

    ``horizon_epochs`` is the length the schedule is made for; ``RunConfig.epochs`` says how far we run,
    so a 30-epoch gate can judge the beginning of a 2000-epoch schedule.
    """

    name: Literal["cosine", "constant"] = "cosine"
    """constant after a warm-up is what the paper's released code does, whose cosine is reset every epoch."""
    warmup_epochs: NonNegative = 2.0
    horizon_epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    final_lr_ratio: Fraction | None = None
    """cosine only: learning rate at the horizon as a fraction of optim.lr."""
    start_lr_ratio: Fraction | None = added(None)
    """Learning rate of step 0 as a fraction of optim.lr; default: one warm-up step's share, 1 / warm-up steps."""
    per_epoch: bool = added(False)
    """Change the rate between epochs only, as the research log and the paper's code do."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        cosine = values.get("name", "cosine") == "cosine"
        only_when(values, "final_lr_ratio", cosine, "schedule.name=cosine", 0.01)
        warmup = values.get("warmup_epochs", 2.0)
        only_when(values, "start_lr_ratio", warmup != 0, "schedule.warmup_epochs above 0", None)

    @model_validator(mode="after")
    def _warmup_fits(self) -> ScheduleConfig:
        if self.warmup_epochs >= self.horizon_epochs:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs} must be below horizon_epochs = {self.horizon_epochs}"
            )
        return self
