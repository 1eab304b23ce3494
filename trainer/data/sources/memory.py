"""A bounded memory of a stream: raw images and the parameters of all their views.

Places and draws are counter-based random numbers (:mod:`trainer.data.philox`): the state is what is kept and how many
items came by, and a resumed run replays what the uninterrupted one would have.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.config.stream import ReplayConfig
from trainer.data.philox import Purpose, uniforms


@dataclass(frozen=True)
class Items:
    """Rows of a stream.

    Attributes:
        index: (B,) positions in the image set, which only probes read.
        images: (B, V, C, H, W) uint8, V = 1 where all views are made from one image.
        parameters: of the views, as the transform draws them.
    """

    index: Tensor
    images: Tensor
    parameters: Any


class Memory:
    """Where the items of a stream go, and what is replayed of them.

    Args:
        segments: of the stream; only the ring asks for them.
        seed: of the run.

    Attributes:
        count: items that came by.
    """

    def __init__(self, config: ReplayConfig, segments: int, seed: int):
        self._config, self._segments, self._seed = config, segments, seed
        self.count = 0
        self._of_segment = [0] * segments
        self._kept: dict[str, Tensor] = {}
        self._kind: type | None = None

    def __len__(self) -> int:
        if self._config.kind == "ring":
            return sum(min(count, self._share) for count in self._of_segment)
        return min(self.count, self._config.capacity)

    @property
    def bytes(self) -> int:
        """What the memory takes, all of it from the first item on."""
        return sum(kept.numel() * kept.element_size() for kept in self._kept.values())

    @property
    def _share(self) -> int:
        return self._config.capacity // self._segments

    def add(self, items: Items, segment: int) -> None:
        """Keep what the rule keeps of the next items of the stream, in their order."""
        rows = {"index": items.index, "images": items.images, **_flat(items.parameters)}
        if not self._kept:
            self._kind = type(items.parameters)
            size = self._config.capacity
            self._kept = {name: value.new_zeros(size, *value.shape[1:]) for name, value in rows.items()}
        slots = self._slots(len(items.index), segment)
        # of two items for one place the later stays
        taken = {slot: row for row, slot in enumerate(slots) if slot is not None}
        self.count += len(slots)
        self._of_segment[segment] += len(slots)
        if taken:
            where, which = (torch.tensor(list(one)) for one in (taken.keys(), taken.values()))
            for name, value in rows.items():
                # images may be kept elsewhere than what is computed with
                self._kept[name][where.to(value.device)] = value[which.to(value.device)]

    def draw(self, rows: int, step: int) -> Items | None:
        """Random items, with replacement; None while there are none."""
        held = len(self)
        if held == 0 or rows == 0:
            return None
        number = torch.arange(rows)
        pick = uniforms(self._seed, Purpose.REPLAY, step, number, 1)[:, 0].double()
        slots = self._filled((pick * held).long())
        kept = {name: value[slots.to(value.device)] for name, value in self._kept.items()}
        index, images = kept.pop("index"), kept.pop("images")
        return Items(index, images, _whole(self._kind, kept))

    def _slots(self, rows: int, segment: int) -> list[int | None]:
        """The place of each of the next items, None where it is not kept."""
        capacity, kind = self._config.capacity, self._config.kind
        if kind == "fifo":
            return [(self.count + row) % capacity for row in range(rows)]
        if kind == "ring":
            first, share = segment * self._share, self._share
            return [first + (self._of_segment[segment] + row) % share for row in range(rows)]
        # algorithm R (Vitter 1985): item i, from 0 on, takes a place with probability capacity / (i + 1)
        number = torch.arange(self.count, self.count + rows)
        pick = uniforms(self._seed, Purpose.RESERVOIR, 0, number, 2).double()
        # 48 bits: with 24 the later places of a large memory would be reached unevenly
        fine = pick[:, 0] + pick[:, 1] * 2.0**-24
        places = torch.where(number < capacity, number, (fine * (number + 1)).long())
        return [place if place < capacity else None for place in places.tolist()]

    def _filled(self, order: Tensor) -> Tensor:
        """Places of the first, second, ... kept item."""
        if self._config.kind != "ring":
            return order
        held = torch.tensor([min(count, self._share) for count in self._of_segment])
        ends = held.cumsum(0)
        segment = torch.searchsorted(ends, order, right=True)
        return segment * self._share + order - (ends - held)[segment]

    def state_dict(self) -> dict[str, Any]:
        kept = {name: value.clone() for name, value in self._kept.items()}
        return {"count": self.count, "of_segment": list(self._of_segment), "kept": kept}

    def load_state_dict(self, state: dict[str, Any], kind: type) -> None:
        """``kind`` is the type of the parameters that the transform draws.

        Raises:
            ValueError: the state is of another capacity or another stream.
        """
        kept, counts = state["kept"], state["of_segment"]
        if len(counts) != self._segments or any(len(value) != self._config.capacity for value in kept.values()):
            raise ValueError(f"its memory is not one of {self._config.capacity} items of {self._segments} segments")
        self.count, self._of_segment = state["count"], list(counts)
        self._kept, self._kind = {name: value.clone() for name, value in kept.items()}, kind if kept else None


def _flat(parameters: Any) -> dict[str, Tensor]:
    """The tensors of a transform's parameters by name."""
    if is_dataclass(parameters):
        return {f"parameters.{one.name}": getattr(parameters, one.name) for one in fields(parameters)}
    return {"parameters": parameters}


def _whole(kind: type, kept: dict[str, Tensor]) -> Any:
    if is_dataclass(kind):
        return kind(**{name.removeprefix("parameters."): value for name, value in kept.items()})
    return kept["parameters"]
