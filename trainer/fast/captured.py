"""A training step as one CUDA graph.

A step of ours is some 1,500 kernels, most of them a few microseconds long: a processor that launches them one by one
takes longer than the GPU that runs them. Recorded once as a graph, a step is one launch. Two things follow: every
tensor that a step reads must stay where it is, so what differs between steps (draws, step number, rates) is written
into tensors beforehand; and the views of step k + 1 can be rendered beside the training on those of step k, on a branch
of their own, which hides the many small kernels of rendering.

On the CPU the same class runs the same functions without a graph: the tests' stand-in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.source import Batch, Plan, Plannable
from trainer.step import Learnt, Rates, given

WARM_UP = 3
"""Steps before the recording: libraries choose their algorithms and allocate workspaces, which a recording must not."""


class CapturedStep:
    """Called with a step's number, trains on its batch.

    Args:
        learn: trains on a batch at a learning rate and a method's scalars, all of them on the device, without ever
            waiting for it. What it returns may be the batch's own tensors, but no other views of their memory.
        rates: learning rate and scalars of a step; which scalars there are must not depend on the step.
    """

    def __init__(
        self,
        source: Plannable,
        learn: Callable[[Batch, Tensor, dict[str, Tensor]], Learnt],
        rates: Rates,
        device: torch.device,
    ):
        self._source, self._learn, self._rates, self._device = source, learn, rates, device
        self._plan: Plan = {}
        self._batch: Batch = {}
        self._rate = torch.zeros((), device=device)
        self._scalars: dict[str, Tensor] = {}
        self._rendered_for: int | None = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._learnt: Learnt | None = None
        if device.type == "cuda":
            self._stream, self._aside = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def __call__(self, step: int) -> Learnt:
        """What step ``step`` learnt, in memory of its own; the next call may be for any step."""
        if self._rendered_for != step:
            self._copy(self._kept(self._source.render(self._write(step))), self._batch)
        rate, scalars = self._rates(step)
        self._rate.fill_(rate)
        for name, value in given(scalars).items():
            if name not in self._scalars:
                self._scalars[name] = torch.zeros_like(self._rate)
            self._scalars[name].fill_(value)
        self._write(step + 1)
        self._run()
        self._rendered_for, self._source.step = step + 1, step + 1
        self._steps += 1
        kept, values = self._learnt
        return {name: value.clone() for name, value in kept.items()}, values

    def _run(self) -> None:
        if self._device.type != "cuda":
            self._work()
        elif self._graph is not None:
            self._graph.replay()
        elif self._steps < WARM_UP:
            # on the stream that is recorded later, as torch's notes on graphs ask
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._work()
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            self._graph = torch.cuda.CUDAGraph()
            # other threads may go on allocating: one reads images ahead
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._work()
            self._graph.replay()

    def _work(self) -> None:
        """Train on the batch at hand, and render the next one beside it."""
        if self._device.type == "cuda":
            current = torch.cuda.current_stream()
            self._aside.wait_stream(current)
            with torch.cuda.stream(self._aside):
                ahead = self._kept(self._source.render(self._plan))
            self._learnt = self._learn(self._batch, self._rate, self._scalars)
            current.wait_stream(self._aside)
        else:
            ahead = self._kept(self._source.render(self._plan))
            self._learnt = self._learn(self._batch, self._rate, self._scalars)
        kept, values = self._learnt
        # labels are the batch's own, which the next one is written over
        own = {id(value) for value in self._batch.values()}
        self._learnt = {name: value.clone() if id(value) in own else value for name, value in kept.items()}, values
        self._copy(ahead, self._batch)

    def _write(self, step: int) -> Plan:
        """The plan of a step, in the tensors that the graph reads."""
        plan = self._source.plan(step)
        plan.pop("parameters", None)
        for name, value in plan.items():
            if name not in self._plan:
                shape, dtype = (value.shape, value.dtype) if isinstance(value, Tensor) else ((), torch.int64)
                self._plan[name] = torch.zeros(shape, dtype=dtype, device=self._device)
            if isinstance(value, Tensor):
                self._plan[name].copy_(value, non_blocking=True)
            else:
                self._plan[name].fill_(value)
        return self._plan

    def _kept(self, batch: Batch) -> Batch:
        """What training reads."""
        return {name: value for name, value in batch.items() if name not in self._source.for_probes}

    @staticmethod
    def _copy(source: dict[str, Any], to: dict[str, Any]) -> None:
        for name, value in source.items():
            if name not in to:
                to[name] = [part.clone() for part in value] if isinstance(value, list) else value.clone()
            elif isinstance(value, list):
                torch._foreach_copy_(to[name], value)
            else:
                to[name].copy_(value)
