"""The one face of everything that spreads features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import REGULARISERS
from trainer.config.node import Node
from trainer.config.parts import implementation


@dataclass(frozen=True)
class Term:
    """One evaluation of a regulariser.

    Attributes:
        value: what the loss weight multiplies; carries gradient.
        health: detached scalars worth recording, by name.
    """

    value: Tensor
    health: dict[str, Tensor] = field(default_factory=dict)


class Regularising(nn.Module, ABC):
    """A regulariser of one feature; made from its settings and the run's seed.

    Attributes:
        by_feature: of several features of several parts each, the mean is taken first over the parts of each; otherwise
            over all parts.
    """

    by_feature = False

    def __init__(self, config: Any = None, seed: int = 0):
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """The term of (n, d) local rows, over the rows of all workers, outside autocast in fp32 (fp64 if given).

        Args:
            step: int64 scalar, for what is drawn anew in each step; the same on every worker.
        """


def make_regulariser(name: str, config: Node, seed: int) -> Regularising:
    """The regulariser of a weight's name."""
    return implementation(REGULARISERS[name].implementation)(config, seed)


def regularise(regulariser: Regularising, features: Mapping[str, list[Tensor]], step: Tensor | None) -> Term:
    """The mean over features, each in one or more parts of (n, d) rows; health is named ``name/feature``."""
    found = {name: [regulariser(rows, step) for rows in parts] for name, parts in features.items()}
    means = {name: _mean([term.value for term in terms]) for name, terms in found.items()}
    values = (
        list(means.values()) if regulariser.by_feature else [term.value for terms in found.values() for term in terms]
    )
    names = {name: list(terms[0].health) for name, terms in found.items()}
    health = {
        f"{one}/{name}": _mean([term.health[one] for term in found[name]]) for name in found for one in names[name]
    }
    return Term(torch.stack(values).mean(), health)


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).mean()
