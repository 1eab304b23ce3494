"""Why a trial stops or waits, as it stands on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stop:
    """Why a trial stops; ``state`` is how it ends, or ``paused``: it waits at a rung, and may be promoted."""

    state: str
    reason: str
    epoch: int
    value: float | None
    objectives: dict[str, float | None]

    @classmethod
    def on_record(cls, line: dict[str, Any]) -> Stop:
        return cls(line["state"], line["reason"], line["epoch"], line["value"], line["objectives"])
