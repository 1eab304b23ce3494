"""One run: an arm, a seed, and how far and where to run it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trainer.config.data import DataConfig
from trainer.config.evaluation import EvalConfig, GateConfig, RuntimeConfig
from trainer.config.mixture import check_draws
from trainer.config.node import Node, added
from trainer.config.optim import OptimConfig, ScheduleConfig
from trainer.config.sets import pretraining_images
from trainer.config.stream import check_run


class RunConfig(Node):
    """The whole configuration; each family of models has its own, with the types of ``model`` and ``objective``."""

    streams: ClassVar[bool] = False
    """Whether the family's source follows ``data.stream``."""
    family: str = added("seq_jepa")
    """scientific: the family of models, a folder of ``trainer/families``."""
    data: DataConfig = DataConfig()
    model: Node
    objective: Node
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    precision: Literal["fp32", "bf16", "fp64", "tf32"] = "fp32"
    """scientific: bf16 means autocast with fp32 weights, norms and rate; tf32, on CUDA only, rounds the inputs of
    products."""
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
        check_run(self)
        images = self.images_per_epoch
        if self.optim.batch_size > images:
            raise ValueError(
                f"optim.batch_size = {self.optim.batch_size} must not exceed the {images} images"
                f" {'per epoch' if self.data.stream is None else 'between two measurements of the stream'}"
            )
        if self.data.mixture is not None:
            check_draws(self.data, self.steps_per_epoch * self.optim.batch_size)
        glimpse = self.data.glimpse
        from_file = glimpse is not None and glimpse.saliency == "file"
        if from_file != (self.runtime.saliency_file is not None):
            raise ValueError(
                f"runtime.saliency_file = {self.runtime.saliency_file!r} and data.glimpse.saliency=file go together"
            )
        return self

    @property
    def one_worker(self) -> str | None:
        """The setting that several workers cannot share, and why."""
        return None

    @property
    def unrecorded(self) -> str | None:
        """What a recorded step, the same in every replay, cannot do."""
        return None

    @property
    def images_per_epoch(self) -> int:
        if self.data.mixture is not None:
            return self.data.epoch_images
        images = pretraining_images(self.data) * self.data.draws_per_epoch
        return images if self.data.stream is None else images // self.data.stream.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; the remainder of each epoch's order is left out."""
        return self.images_per_epoch // self.optim.batch_size

    @property
    def horizon_steps(self) -> int:
        return self.schedule.horizon_epochs * self.steps_per_epoch
