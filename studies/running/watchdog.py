"""Notices a trial that says nothing, and a study in which nothing can start.

Time is what this process was awake for: one that was stopped (Ctrl-Z, a closed lid) for an hour heard nobody meanwhile,
and nobody was silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_LOOK = 10.0
"""Looks come several times a second; what goes beyond this, the driver itself was away."""


class Watchdog:
    """Knows when each running job was last heard of.

    Args:
        silence: seconds without a report after which a job counts as hung.
        clock: seconds, monotonic.
    """

    def __init__(self, silence: float, clock: Callable[[], float] = time.monotonic):
        self.silence, self._clock = silence, clock
        self._awake, self._looked = 0.0, clock()
        self._heard: dict[str, float] = {}
        self._idle_since: float | None = None
        self._said: set[float] = set()

    def heard(self, name: str) -> None:
        """A job started or reported."""
        self._heard[name] = self._now()

    def gone(self, name: str) -> None:
        self._heard.pop(name, None)

    @property
    def watched(self) -> int:
        """Jobs that started and have not ended."""
        return len(self._heard)

    def hung(self) -> list[str]:
        """Jobs that have been silent for too long."""
        now = self._now()
        return [name for name, when in self._heard.items() if now - when > self.silence]

    def waited(self, waiting: int, seconds: float) -> bool:
        """Whether jobs have been waiting for a worker, while none ran, for longer than this; said once until one
        runs."""
        now = self._now()
        if self._heard or not waiting:
            self._idle_since = None
            self._said.clear()
            return False
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since <= seconds or seconds in self._said:
            return False
        self._said.add(seconds)
        return True

    def stalled(self, waiting: int) -> bool:
        """Whether jobs have waited for longer than a trial may be silent."""
        return self.waited(waiting, self.silence)

    def _now(self) -> float:
        now = self._clock()
        step = now - self._looked
        self._looked = now
        self._awake += min(step, LONGEST_LOOK)
        return self._awake
