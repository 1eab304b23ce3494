"""Means over the steps of the scalars that every step yields."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer import world
from trainer.method import Output


class Meter:
    """Adds a step's scalars as one vector: one kernel a step however many scalars there are, and nothing waits.

    Args:
        weights: weight of every loss term.
    """

    def __init__(self, weights: dict[str, float]):
        self._weights = weights
        self._factors: Tensor | None = None
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._steps = 0

    def values(self, output: Output, loss: Tensor) -> Tensor:
        """(n,) detached: terms, weighted terms, the method's health, and the loss."""
        terms = torch.stack(list(output.terms.values())).detach()
        if self._factors is None:
            self._factors = torch.tensor(
                [self._weights[name] for name in output.terms], dtype=terms.dtype, device=terms.device
            )
            names = [
                *(f"term/{name}" for name in output.terms),
                *(f"weighted/{name}" for name in output.terms),
                *output.health,
            ]
            self._names = [*names, "loss/total"]
        return torch.cat([terms, terms * self._factors, torch.stack([*output.health.values(), loss.detach()])])

    def add(self, values: Tensor) -> None:
        if self._sums is None:
            self._sums = torch.zeros_like(values)
        self._sums += values
        self._steps += 1

    @property
    def total(self) -> Tensor:
        """The summed loss so far: NaN or infinite ever after a step's loss was."""
        return self._sums[-1]

    def means(self) -> dict[str, float]:
        """Mean per step over all workers, by name; starts afresh."""
        means = world.mean_over_workers(self._sums / self._steps).tolist()
        self._sums, self._steps = None, 0
        return dict(zip(self._names, means, strict=True))
