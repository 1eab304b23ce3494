"""A training step as one CUDA graph.

A step of ours is some 1,500 kernels, most of them a few microseconds long: a processor that launches them one by one takes
longer than the GPU that runs them. Recorded once as a graph, a step is one launch. Two things follow: every tensor
that a step reads must stay where it is, so what differs between steps (draws, step number, rates) is written into
tensors beforehand; and the views of step k + 1 can be rendered beside the training on those of step k, on a branch of their own,
which hides the many small kernels of rendering.

On the CPU the same class runs the same functions without a graph: the tests' stand-in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.data.views import Batch, Plan, Views

Learnt = tuple[dict[str, Tensor], Tensor, Tensor]
"""What the loop keeps of a step: features by name, labels (B,), scalars (n,); no feature is memory of the batch itself."""
WARM_UP = 3
"""Steps before the recording: libraries choose their algorithms and allocate workspaces, which a recording must not."""


class Step:
    """Called once per step, trains on the next batch.

    Args:
        learn: trains on a batch at a learning rate and a decay.
        rates: learning rate and decay (or None) of a step.
    """

    def __init__(self, views: Views, learn: Callable[..., Learnt], rates: Callable[[int], tuple[float, float | None]]):
        self._views, self._learn, self._rates = views, learn, rates

    def __call__(self, step: int) -> Learnt:
        """Train on the batch of step ``step``, which must be the next."""
        return self._learn(self._views.next(), *self._rates(step))


class CapturedStep:
    """Called with a step's number, trains on its batch.

    Args:
        learn: trains on a batch at a learning rate and a decay, both scalars on the device, without ever waiting for it.
        rates: learning rate and decay (or None) of a step.
    """

    def __init__(
        self,
        views: Views,
        learn: Callable[[Batch, Tensor, Tensor | None], Learnt],
        rates: Callable[[int], tuple[float, float | None]],
        device: torch.device,
    ):
        self._views, self._learn, self._rates, self._device = views, learn, rates, device
        self._plan: Plan = {}
        self._batch: Batch = {}
        self._rate = torch.zeros((), device=device)
        self._decay: Tensor | None = None
        self._rendered_for: int | None = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._learnt: Learnt | None = None
        if device.type == "cuda":
            self._stream, self._aside = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def __call__(self, step: int) -> Learnt:
        """What step ``step`` learnt, in memory of its own; the next call may be for any step."""
        if self._rendered_for != step:
            self._copy(self._kept(self._views.render(self._write(step))), self._batch)
        rate, decay = self._rates(step)
        self._rate.fill_(rate)
        if decay is not None:
            self._decay = torch.zeros_like(self._rate) if self._decay is None else self._decay
            self._decay.fill_(decay)
        self._write(step + 1)
        self._run()
        self._rendered_for, self._views.step = step + 1, step + 1
        self._steps += 1
        features, labels, values = self._learnt
        return {name: feature.clone() for name, feature in features.items()}, labels.clone(), values

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
                ahead = self._kept(self._views.render(self._plan))
            self._learnt = self._learn(self._batch, self._rate, self._decay)
            current.wait_stream(self._aside)
        else:
            ahead = self._kept(self._views.render(self._plan))
            self._learnt = self._learn(self._batch, self._rate, self._decay)
        features, labels, values = self._learnt
        # the labels are the batch's own
        self._learnt = features, labels.clone(), values
        self._copy(ahead, self._batch)

    def _write(self, step: int) -> Plan:
        """The plan of a step, in the tensors that the graph reads."""
        plan = self._views.plan(step)
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

    @staticmethod
    def _kept(batch: Batch) -> Batch:
        """What training reads; poses and indices are for probes of fixed views."""
        return {name: value for name, value in batch.items() if name not in ("poses", "index")}

    @staticmethod
    def _copy(source: dict[str, Any], to: dict[str, Any]) -> None:
        for name, value in source.items():
            if name not in to:
                to[name] = [part.clone() for part in value] if isinstance(value, list) else value.clone()
            elif isinstance(value, list):
                torch._foreach_copy_(to[name], value)
            else:
                to[name].copy_(value)
