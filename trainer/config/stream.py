"""Training on a stream: what comes after what, and what is remembered of it (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, added, only_when
from trainer.config.sets import SETS, split_sizes

SEGMENTS = {"stationary": 1, "classes": 5, "actions": 3, "appearance": 4}
"""Segments of each kind of stream, where nothing else is said."""
FACTORS = (("rotation",), ("scale",), ("position",), ("rotation", "scale", "position"))
"""Which factors of an affine view move in each segment of ``shift=factors``."""


class ReplayConfig(Node):
    """A memory of the stream: raw images and the parameters of all their views, rendered again when they are
    replayed."""

    kind: Literal["reservoir", "fifo", "ring"] = "reservoir"
    """reservoir: every item of the stream so far is in it with the same probability; fifo: the most recent ones; ring:
    each segment has an equal share of the places and overwrites its own oldest, which needs boundaries, no classes."""
    capacity: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Sequences; their memory is taken at the start."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Replayed share of a step's rows, beside optim.batch_size new ones: 0.5 is one old row per new row."""
    into: Literal["both", "prediction", "rate"] = "both"
    """What replayed rows take part in: the prediction loss, the regularisers, or both."""


class StreamConfig(Node):
    """Images come in an order of their own, once (or ``data.draws_per_epoch`` times, each time with new views).

    An epoch is then the part of the stream between two measurements: ``segments x checks`` of them are all there is.
    """

    kind: Literal["stationary", "classes", "actions", "appearance"] = "classes"
    """stationary: one segment, i.i.d.; classes: new classes in every segment, in the order of their labels; actions:
    the actions change; appearance: the images do."""
    segments: Annotated[int, Field(ge=1, le=1000)] | None = None
    checks: Annotated[int, Field(ge=1, le=1000)] = 1
    """Measurements per segment, the last at its end."""
    order: Literal["segments", "cumulative", "joint"] = "segments"
    """segments: one after the other. The others are bounds, with as many steps: cumulative draws from everything so
    far, joint from everything."""
    shift: Literal["windows", "factors"] | None = None
    """kind=actions. windows: the angle's range is cut into as many parts; factors: rotation, then scale, then
    position, then all."""
    change: Literal["contrast", "hue"] | None = None
    """kind=appearance: what changes."""
    to: Annotated[float, Field(ge=-1, le=2)] | None = None
    """kind=appearance, at the stream's end: the contrast's factor, or the hue's turn; 1 and 0 at its beginning."""
    gradual: bool | None = None
    """kind=appearance: change in every step, not at boundaries."""
    replay: ReplayConfig | None = added(None)

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        kind = values.get("kind", "classes")
        appearance = kind == "appearance"
        only_when(values, "shift", kind == "actions", "stream.kind=actions", "windows")
        only_when(values, "change", appearance, "stream.kind=appearance", "contrast")
        only_when(values, "to", appearance, "stream.kind=appearance", 0.5 if values.get("change") == "hue" else 0.3)
        only_when(values, "gradual", appearance, "stream.kind=appearance", False)
        if values.get("segments") is None:
            values["segments"] = len(FACTORS) if values.get("shift") == "factors" else SEGMENTS.get(kind, 1)

    @model_validator(mode="after")
    def _something_changes(self) -> StreamConfig:
        if (self.kind == "stationary") != (self.segments == 1):
            raise ValueError(
                f"stream.segments = {self.segments}: must be 1 with stream.kind=stationary, and at least 2 otherwise;"
                " set one of them"
            )
        if self.kind == "stationary" and self.order != "segments":
            raise ValueError(f"stream.order = {self.order!r} has a meaning only with several segments; remove it")
        if self.shift == "factors" and self.segments != len(FACTORS):
            raise ValueError(f"stream.segments = {self.segments}: must be {len(FACTORS)} with stream.shift=factors")
        if self.change is not None and self.to == {"contrast": 1.0, "hue": 0.0}[self.change]:
            raise ValueError(f"stream.to = {self.to}: nothing would change; give another {self.change}")
        low, high = (0.0, 2.0) if self.change == "contrast" else (-0.5, 0.5)
        if self.change is not None and not low <= self.to <= high:
            raise ValueError(f"stream.to = {self.to}: {self.change} must lie in {low:g} .. {high:g}")
        if self.replay is not None and self.order != "segments":
            raise ValueError(
                f"stream.replay with stream.order={self.order}: what came before is drawn anyway; remove one of them"
            )
        if self.replay is not None and self.replay.kind == "ring" and self.replay.capacity < self.segments:
            raise ValueError(
                f"stream.replay.capacity = {self.replay.capacity}: a ring needs a place for each of the"
                f" {self.segments} segments"
            )
        return self

    @property
    def epochs(self) -> int:
        """Measurements in the whole stream."""
        return self.segments * self.checks

    def replayed(self, batch: int) -> int:
        """Old rows beside ``batch`` new ones, at least one."""
        return 0 if self.replay is None else max(1, round(batch * self.replay.ratio / (1 - self.replay.ratio)))


def check_data(data: Any, classes: int, channels: int, unlabelled: int) -> None:
    """Raise ValueError for a stream that the data cannot give.

    Args:
        data: settings with the stream, :class:`trainer.config.DataConfig`.
    """
    stream = data.stream
    if stream.kind == "classes" and classes % stream.segments:
        raise ValueError(f"stream.segments = {stream.segments}: must divide the {classes} classes of {data.name}")
    if stream.kind == "classes" and unlabelled:
        raise ValueError(
            f"stream.kind = 'classes': {data.name} has {unlabelled} images without a class, which belong to no segment;"
            " set data.unlabelled=0"
        )
    if stream.kind == "actions":
        if stream.shift == "windows" and data.transform not in ("rotation", "affine"):
            raise ValueError(f"stream.shift = 'windows' needs data.transform=rotation or affine, not {data.transform}")
        if stream.shift == "factors" and data.transform != "affine":
            raise ValueError(f"stream.shift = 'factors' needs data.transform=affine, not {data.transform}")
        if data.angle_steps is not None and data.angle_steps % stream.segments:
            raise ValueError(
                f"data.angle_steps = {data.angle_steps}: must be a multiple of the {stream.segments} windows"
            )
    if stream.change == "hue" and channels != 3:
        raise ValueError(f"stream.change = 'hue' needs colour images, {data.name} is grey; take contrast")


def check_run(run: Any) -> None:
    """Raise ValueError for a run that does not fit its stream; ``run`` is a :class:`trainer.config.RunConfig`."""
    stream = run.data.stream
    if stream is None:
        if run.optim.batch_size < 4:
            raise ValueError(f"optim.batch_size = {run.optim.batch_size} must be at least 4 without data.stream")
        return
    if not run.streams:
        raise ValueError(f"data.stream: family {run.family} draws its images at random; remove it")
    if run.schedule.horizon_epochs > stream.epochs:
        raise ValueError(
            f"schedule.horizon_epochs = {run.schedule.horizon_epochs} must not exceed {stream.epochs}, the stream's"
            f" {stream.segments} segments x {stream.checks} checks; set it to that, and epochs to at most that"
        )
    if stream.kind == "classes":
        train, *held = split_sizes(run.data)
        least, seen = 2 * SETS[run.data.name].classes, held[run.data.select_on == "test"]
        if min(train, seen) < least:
            raise ValueError(
                f"data.sizes: {train} train and {seen} {run.data.select_on} images; a stream of classes learns and is"
                f" judged class by class, take {least} or more of each"
            )
    inside = [epoch for epoch in run.eval.probe_epochs if epoch % stream.checks and epoch < run.epochs]
    judged = [gate.epoch for gate in run.gates.values() if gate.epoch % stream.checks and stream.segments > 1]
    for name, found in (("eval.probe_epochs", inside if stream.segments > 1 else []), ("gates", judged)):
        if found:
            raise ValueError(
                f"{name} = {found[0]}: a stream is judged at the ends of its segments, multiples of {stream.checks}"
            )
    if run.runtime.compile:
        raise ValueError("runtime.compile = True: a stream's steps are not recorded; remove it")
