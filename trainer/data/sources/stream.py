"""A stream of images: an order of its own, boundaries between its segments, and a memory.

As :class:`trainer.data.views.Views` every batch is a function of (seed, step) and of what is in the memory. A batch of
a stream with a memory holds the new rows first (``new``, a slice) and ``into``, the rows that the prediction loss and
the regularisers take; replayed rows have no label, as probes beside the model learn from the stream only.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.images import ImageSet
from trainer.data.philox import Purpose, permutation, uniforms
from trainer.data.sources.memory import Items, Memory
from trainer.data.sources.shifts import changed, class_pools, restricted, segment_of
from trainer.data.views import Views
from trainer.source import Batch, Plan


class Stream(Views):
    """The configured stream.

    Attributes:
        segments: how many.
        segment_steps: steps of each.
        memory: what is replayed, or None.
    """

    def __init__(
        self,
        config: RunConfig,
        images: ImageSet,
        dtype: torch.dtype,
        rank: int = 0,
        world: int = 1,
        reverse: bool = False,
    ):
        self._stream = config.data.stream
        self.segments, self._segment = self._stream.segments, None
        super().__init__(config, images, dtype, rank, world, reverse)
        self.segment_steps = self._stream.checks * config.steps_per_epoch
        self._total = self.segments * self.segment_steps
        pool = images.splits["pretrain"]
        classes = self._stream.kind == "classes"
        self._parts = (
            class_pools(images.labels, pool, self.segments, images.classes) if classes else [pool] * self.segments
        )
        replay = self._stream.replay
        self.memory = Memory(replay, self.segments, config.seed) if replay is not None else None
        self._replayed = self._stream.replayed(config.optim.batch_size)

    # --- where in the stream

    def segment_at(self, step: int) -> int:
        """The segment of a step."""
        return min(step // self.segment_steps, self.segments - 1)

    def ends_segment(self, step: int) -> bool:
        """Whether a segment is over after ``step`` batches."""
        return step > 0 and step % self.segment_steps == 0

    def at(self, segment: int) -> Stream:
        """The same for fixed views only, of one segment: its images, its actions, its looks.

        Where images change gradually the segment stands for its middle.
        """
        one = copy.copy(self)
        one._segment, one.memory = segment, None
        if self._stream.kind == "classes":
            labels, images = self._images.labels, self._images
            pools = {
                name: class_pools(labels, index, self.segments, images.classes)[segment]
                for name, index in images.splits.items()
            }
            one._images = replace(images, splits=pools)
        return one

    # --- batches

    def next(self) -> Batch:
        plan = self.plan(self.step)
        self.step += 1
        index, parameters = plan.get("parameters") or self._parameters(plan["draw"], plan["epoch"])
        stored = plan["stored"] if self._elsewhere else self._images.images[self.transform.rows(index, parameters)]
        stored = changed(stored, self._places(plan["draw"], plan["step"]).to(stored.device), self._stream)
        batch = self._labelled(index, parameters, stored, plan["step"])
        if self.memory is None:
            return batch
        old = self.memory.draw(self._replayed, plan["step"])
        views = self._config.data.observed_views + 1
        per_item = stored[:, None] if self.transform.per_image else stored.unflatten(0, (views, -1)).transpose(0, 1)
        self.memory.add(Items(index, per_item, parameters), self.segment_at(plan["step"]))
        return batch if old is None else self._with(batch, old)

    def render(self, plan: Plan) -> Batch:
        # what a plan would render knows nothing of the memory; a run that records its steps is refused by its settings
        raise TypeError("a stream is no Plannable: it remembers, so its batches come from next() only")

    def _labelled(self, index: Tensor, parameters: Any, stored: Tensor, step: int) -> Batch:
        batch = self._batch(index, parameters, stored)
        batch["labels"] = self._train_labels[index]
        batch["step"] = torch.full((), step, dtype=torch.int64, device=self.device)
        return batch

    def _with(self, batch: Batch, old: Items) -> Batch:
        """New rows and then replayed ones, each rendered apart: the new ones are those of a run without memory."""
        rows = old.images[:, 0] if self.transform.per_image else old.images.transpose(0, 1).flatten(0, 1)
        again = self._batch(old.index, old.parameters, rows)
        again["labels"] = torch.full_like(old.index, -1)
        new, everything = slice(0, len(batch["labels"])), slice(None)
        into = self._stream.replay.into
        joined: Batch = {"step": batch["step"], "new": new}
        joined["into"] = new if into == "rate" else everything, new if into == "prediction" else everything
        for name, value in again.items():
            if isinstance(value, list):
                joined[name] = [torch.cat(pair) for pair in zip(batch[name], value, strict=True)]
            else:
                joined[name] = torch.cat([batch[name], value])
        return joined

    # --- what is drawn

    def _drawn(self, step: int) -> Tensor:
        config, size = self._config, self._config.optim.batch_size
        segment, position = divmod(step, self.segment_steps)
        by_class = self._stream.kind == "classes" and self._stream.order != "joint"
        key = segment if by_class else 0
        if self._order is None or self._order[0] != key:
            # a segment of fewer images than it has steps for shows some again, one of more leaves the surplus out
            pool, needed = (self._pool(segment), self.segment_steps) if by_class else (self._pool(0), self._total)
            count = max(len(pool) * config.data.draws_per_epoch, needed * size)
            self._order = (key, permutation(config.seed, key, count, self.device))
        first = (position if by_class else step) * size
        return self._order[1][first : first + size][self.rank :: self.world]

    def _fetch(self, step: int) -> Any:
        # nothing comes after the stream that could be read ahead
        return super()._fetch(min(step, self._total - 1))

    def _pool(self, segment: int) -> Tensor:
        """The images that a segment draws from."""
        if self._stream.kind != "classes" or self._stream.order == "joint":
            return self._images.splits["pretrain"]
        return self._parts[segment] if self._stream.order == "segments" else torch.cat(self._parts[: segment + 1])

    def _places(self, draw: Tensor, step: int) -> Tensor:
        """How far along the stream each row of a step is taken from, (B,) in [0, 1)."""
        if self._stream.order == "segments":
            return torch.full(draw.shape, step / self._total, dtype=torch.float64, device=draw.device)
        return self._anywhere(draw, self.segment_at(step))

    def _anywhere(self, draw: Tensor, segment: int) -> Tensor:
        until = 1.0 if self._stream.order == "joint" else (segment + 1) / self.segments
        return until * uniforms(self._config.seed, Purpose.PLACES, segment, draw, 1)[:, 0].double()

    def _parameters(self, draw: Tensor, epoch: int | Tensor) -> tuple[Tensor, Any]:
        segment = epoch // self._stream.checks
        pool = self._pool(segment)
        index = pool[draw % len(pool)]
        views = self._config.data.observed_views + 1
        numbers = uniforms(self._config.seed, Purpose.TRAIN_VIEWS, segment, draw, self.transform.numbers(views))
        if self._stream.order == "segments":
            rows = torch.full_like(draw, segment)
        else:
            rows = segment_of(self._anywhere(draw, segment), self.segments)
        return index, self.transform.draw(restricted(numbers, rows, self._config.data), index, views)

    # --- fixed views of one segment

    def _draw(self, index: Tensor, draw: Tensor, seed: int, purpose: Purpose, epoch: int | Tensor, views: int) -> Any:
        if self._segment is None:
            return super()._draw(index, draw, seed, purpose, epoch, views)
        numbers = uniforms(seed, purpose, epoch, draw, self.transform.numbers(views))
        numbers = restricted(numbers, torch.full_like(index, self._segment), self._config.data)
        return self.transform.draw(numbers, index, views)

    def _pixels(self, stored: Tensor, parameters: Any) -> list[Tensor]:
        if self._segment is not None:
            rows = torch.ones(len(stored), dtype=torch.float64, device=stored.device)
            stored = changed(stored, rows * ((self._segment + 0.5) / self.segments), self._stream)
        return super()._pixels(stored, parameters)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | ({} if self.memory is None else {"memory": self.memory.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"], type(self._parameters(self._drawn(0), 0)[1]))
