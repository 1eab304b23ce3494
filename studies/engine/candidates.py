"""Trials as candidates for confirmation, and which of them no other one beats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A trial that may be compared, with the value it was chosen by."""

    trial: int
    label: str
    overrides: dict[str, Any]
    state: str
    epoch: int
    value: float
    objectives: dict[str, float | None]


def unbeaten(candidates: list[Candidate], objectives: tuple[str, ...]) -> set[int]:
    """Trials at full length that no other one beats or equals in every objective and beats in one."""
    points = {c.trial: [c.objectives.get(name) for name in objectives] for c in candidates if c.state == "complete"}
    points = {trial: values for trial, values in points.items() if all(finite(value) for value in values)}

    def beaten(values: list[float]) -> bool:
        return any(
            all(o >= v for o, v in zip(other, values, strict=True))
            and any(o > v for o, v in zip(other, values, strict=True))
            for other in points.values()
        )

    return {trial for trial, values in points.items() if not beaten(values)}


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
