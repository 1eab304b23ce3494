"""Frees the placement groups of trials that have workers of their own.

Ray itself frees a killed trial's group through its dashboard's API server alone, by one process more per trial, which
beside another cluster finds the wrong one. Here a trial tells its group with its first report. One that ends before is
found by elimination: as soon as no trial is starting, every group of the driver's own job that no trial has told is
nobody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SETTLING_SECONDS = 5.0
"""A killed trial's controller may still make its group; it ends with the trial a moment later. A guess."""


class WorkerGroups:
    """The groups of one study's trials.

    Args:
        bundle: resources of one worker.
        workers: of one trial.
        table: groups by id, as ``ray.util.placement_group_table`` gives them.
        remove: frees the group of an id.
        job: id of the driver's job in hex. Ids of groups end with that of the job that made them, so nobody else's
            is touched.
    """

    def __init__(
        self,
        bundle: dict[str, float],
        workers: int,
        table: Callable[[], dict[str, dict[str, Any]]],
        remove: Callable[[str], None],
        job: str,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._bundles = [bundle] * workers
        self._table, self._remove, self._job, self._clock = table, remove, job, clock
        self._starting: set[str] = set()
        self._told: dict[str, str] = {}
        self._lost_at: float | None = None

    def started(self, trial: str) -> None:
        self._starting.add(trial)

    def told(self, trial: str, group: str | None) -> None:
        """A trial reported its group."""
        if group:
            self._starting.discard(trial)
            self._told[trial] = group

    def gone(self, trial: str) -> None:
        """A trial ended; its group is freed, or looked for if it never told it."""
        group = self._told.pop(trial, None)
        if group is not None:
            self._remove(group)
        elif trial in self._starting:
            self._starting.discard(trial)
            self._lost_at = self._clock()

    def settled(self) -> bool:
        """Whether another trial may start: no group that could be nobody's is left."""
        if self._lost_at is None:
            return True
        if self._starting or self._clock() - self._lost_at < SETTLING_SECONDS:
            return False
        for group, found in self._table().items():
            ours = group.endswith(self._job) and _same(list(found["bundles"].values()), self._bundles)
            if ours and found["state"] != "REMOVED" and group not in self._told.values():
                self._remove(group)
        self._lost_at = None
        return True


def _same(found: list[dict[str, float]], bundles: list[dict[str, float]]) -> bool:
    """Equal bundles; Tune has groups of its own, of other sizes."""
    return len(found) == len(bundles) and all(
        one.keys() == other.keys() and all(abs(one[kind] - other[kind]) < 1e-6 for kind in one)
        for one, other in zip(found, bundles, strict=True)
    )
