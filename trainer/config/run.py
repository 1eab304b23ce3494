"""One run: an arm, a seed, and how far and where to run it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.config.data import DataConfig
from trainer.config.evaluation import EvalConfig, GateConfig, RuntimeConfig
from trainer.config.model import ModelConfig
from trainer.config.node import Node, added
from trainer.config.objective import ObjectiveConfig
from trainer.config.optim import OptimConfig, ScheduleConfig
from trainer.config.sets import pretraining_images


class RunConfig(Node):
    """The whole configuration."""

    family: str = added("seq_jepa")
    """scientific: the family of models, a folder of ``trainer/families``."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    precision: Literal["fp32", "bf16", "fp64", "tf32"] = "fp32"
    """scientific: bf16 means autocast with fp32 weights, norms and rate; tf32, on CUDA only, rounds the inputs of products."""
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
        images = self.images_per_epoch
        if self.optim.batch_size > images:
            raise ValueError(f"optim.batch_size = {self.optim.batch_size} must not exceed the {images} images per epoch")
        glimpse = self.data.glimpse
        from_file = glimpse is not None and glimpse.saliency == "file"
        if from_file != (self.runtime.saliency_file is not None):
            raise ValueError(
                f"runtime.saliency_file = {self.runtime.saliency_file!r} and data.glimpse.saliency=file go together"
            )
        if self.eval.pair_target != "encoder" and self.data.observed_views > 1:
            raise ValueError(f"eval.pair_target = {self.eval.pair_target!r} differs only with data.observed_views=1; remove it")
        if self.data.observed_views == 1 and self.model.condition == "aggregator":
            raise ValueError("model.condition = 'aggregator' with data.observed_views=1: no action lies between observed views; use none")
        if self.eval.action_probe and self.data.observed_views == 1:
            raise ValueError("eval.action_probe = True needs data.observed_views of 2 or more: it reads the codes of two observed views")
        if self.eval.subspace.epochs and self.data.transform not in ("rotation", "affine", "object"):
            raise ValueError(
                f"eval.subspace.epochs: factor sweeps are defined for rotation, affine and object, not {self.data.transform}"
            )
        return self

    @property
    def images_per_epoch(self) -> int:
        return pretraining_images(self.data) * self.data.draws_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; the remainder of each epoch's order is left out."""
        return self.images_per_epoch // self.optim.batch_size

    @property
    def horizon_steps(self) -> int:
        return self.schedule.horizon_epochs * self.steps_per_epoch
