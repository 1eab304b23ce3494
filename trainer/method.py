"""What the loop knows of a model: a method that learns, and probes that measure it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.source import Batch

Metrics = dict[str, float]
"""Measured numbers by ``name/feature@views``; accuracies in percent."""


@dataclass
class Output:
    """What a method makes of a batch.

    Attributes:
        terms: scalar loss terms by the name of their weight.
        features: detached features by name, for the probes of the same family.
        health: detached scalars worth recording.
    """

    terms: dict[str, Tensor]
    features: dict[str, Tensor]
    health: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Parameters that are updated alike.

    Attributes:
        lr_scale: their learning rate as a multiple of the schedule's.
        clip_norm: what the norm of their gradient is clipped to, apart from the others; None: ``optim.clip_norm`` over
            all that have no limit of their own.
    """

    params: list[nn.Parameter]
    weight_decay: float
    lr_scale: float = 1.0
    clip_norm: float | None = None


@contextmanager
def evaluating(method: nn.Module) -> Iterator[None]:
    """Evaluation mode (stored batch-norm statistics, no dropout), and afterwards the mode of before."""
    before = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(before)


def decayed(method: nn.Module, weight_decay: float, everything: bool, vectors: Iterable[nn.Parameter]) -> list[Group]:
    """Two groups of the trained parameters: decayed and not.

    Args:
        everything: decay norms, biases and tokens as well, not only matrices and filters.
        vectors: parameters of two or more dimensions that are vectors all the same.
    """
    apart = {id(p) for p in vectors}
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for p in method.parameters():
        if p.requires_grad:
            parts[0 if everything or (p.ndim >= 2 and id(p) not in apart) else 1].append(p)
    return [Group(parts[0], weight_decay), Group(parts[1], 0.0)]


def trained_parameters(method: nn.Module) -> dict[str, int]:
    """Numbers that a fresh model learns: of each of its parts that has any, and in ``total``."""

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters() if p.requires_grad)

    own = {name: p.numel() for name, p in method.named_parameters(recurse=False) if p.requires_grad}
    parts = {name: number for name, part in method.named_children() if (number := count(part))} | own
    return parts | {"total": count(method)}


class Method(nn.Module, ABC):
    """Modules and loss terms of a family.

    Attributes:
        weights: factor of each loss term; the loop minimises their weighted sum.
    """

    weights: dict[str, float]

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Terms, features and health of a batch."""

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """All trained parameters, each in one group."""

    def schedule(self, step: int) -> dict[str, float | None]:
        """Scalars that ``after_step`` needs at optimiser step ``step`` (from 0), as they are recorded; None where there
        is nothing to do."""
        return {}

    def after_step(self, scalars: Mapping[str, float | Tensor]) -> None:
        """What moves without gradient, such as a teacher, after each optimiser step.

        Args:
            scalars: of ``schedule``, without None; in a recorded step they are on the device.
        """


@dataclass(frozen=True)
class Evaluation:
    """What ``python -m trainer.evaluate`` asks for.

    Attributes:
        split: what the probes are scored on; they are fitted on the train split.
        views: numbers of views to aggregate.
        paper, ridge: which probes.
        epochs: of the paper's probes.
        subspace: file for the arrays of the subspace diagnostics, or None to leave them out.
        epoch: of the checkpoint.
        say: told what is being measured.
    """

    split: str
    views: tuple[int, ...]
    paper: bool
    ridge: bool
    epochs: int
    subspace: Path | None
    epoch: int
    say: Callable[[str], None]


class Probes:
    """Measurements of a family's features. They never touch the model's optimiser, gradients or statistics.

    Every worker has one for ``observe``; the rest is called on rank 0 only.

    Attributes:
        split: what metrics are measured on.
        optimisers: of what is trained beside the model.
    """

    split: str
    optimisers: tuple[torch.optim.Optimizer, ...] = ()

    def untrained(self, method: Method) -> Method:
        """A copy of a fresh model as it is fairly measured."""
        return copy.deepcopy(method).eval()

    def begin(self, method: Method) -> None:
        """Called with the fresh model, before a checkpoint is restored: what later measurements compare with."""

    def at_start(self, method: Method, baselines: bool) -> Metrics:
        """Metrics of the fresh model; with ``baselines`` also those of an untrained encoder's action probes and of raw
        pixels."""
        raise NotImplementedError

    def observe(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Called in every training step, without waiting for the device; returns what ``keep`` is to get of it."""
        return {}

    def keep(self, kept: dict[str, Tensor]) -> None:
        """What the last step's ``observe`` returned, in memory that stays."""

    def after_epoch(self, method: Method, epoch: int, full: bool, folder: Path) -> Metrics:
        """Metrics of a model in training.

        Args:
            full: measure everything that rungs, gates and tables read.
            folder: the run's, for arrays.
        """
        raise NotImplementedError

    def evaluate(self, method: Method, untrained: Method, wanted: Evaluation) -> Metrics:
        """Everything that can be measured of a frozen model, beside its untrained self."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, object]:
        """What ``load_state_dict`` needs to go on."""
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None: ...
