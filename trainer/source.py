"""Where batches come from. The loop reads the source's steps and measures after whole epochs of them; what a batch
holds is between the source and the family."""

from __future__ import annotations

from typing import Any, Protocol

Batch = dict[str, Any]
"""Tensors and lists of tensors by name."""
Plan = dict[str, Any]


class Source(Protocol):
    """Training batches in an order of its own.

    Attributes:
        step: training batches given so far; the loop ends at ``epochs * steps_per_epoch`` of them.
    """

    step: int

    def next(self) -> Batch:
        """This worker's share of the next training batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to give the same batches from here on, with ``step`` in it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Plannable(Source, Protocol):
    """A source whose batches can be rendered on the device by a recorded step (:mod:`trainer.fast.captured`).

    Attributes:
        for_probes: names of a batch that training never reads.
    """

    for_probes: tuple[str, ...]

    def plan(self, step: int) -> Plan:
        """What decides the batch of a step: tensors on the device, and numbers."""
        ...

    def render(self, plan: Plan) -> Batch:
        """The batch of a plan whose numbers may be int64 scalars on the device; waits for nothing."""
        ...

    def compile(self) -> None:
        """Render with fused kernels from now on."""
        ...
