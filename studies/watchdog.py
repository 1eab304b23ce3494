"""Notices a trial that says nothing, and a study in which nothing can start. Time by a clock that never jumps."""

from __future__ import annotations

import time
from collections.abc import Callable


class Watchdog:
    """Knows when each running job was last heard of.

    Args:
        silence: seconds without a report after which a job counts as hung.
        clock: seconds, monotonic.
    """

    def __init__(self, silence: float, clock: Callable[[], float] = time.monotonic):
        self.silence, self._clock = silence, clock
        self._heard: dict[str, float] = {}
        self._idle_since: float | None = None

    def heard(self, name: str) -> None:
        """A job started or reported."""
        self._heard[name] = self._clock()

    def gone(self, name: str) -> None:
        self._heard.pop(name, None)

    @property
    def watched(self) -> int:
        """Jobs that started and have not ended."""
        return len(self._heard)

    def hung(self) -> list[str]:
        """Jobs that have been silent for too long."""
        now = self._clock()
        return [name for name, when in self._heard.items() if now - when > self.silence]

    def stalled(self, waiting: int) -> bool:
        """Whether jobs have been waiting for a worker, while none ran, for longer than a trial may be silent; said once."""
        if self._heard or not waiting:
            self._idle_since = None
            return False
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since <= self.silence:
            return False
        self._idle_since = float("inf")
        return True
