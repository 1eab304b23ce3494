"""Attempts that ended without a result: which are tried again.

A failure says something about the machine or the code, never about the arm, so it gives no score. A preemption
does not count against the retries: the owner of the machine took it back. Nor does a kill because others used up the
machine's memory, nor a full disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NOT_ITS_FAULT = ("preempted", "memory_pressure", "disk_full")
PREEMPTIONS_WITHOUT_PROGRESS = 20
"""Taken back this often between two finished epochs, a run makes no progress where it is."""


@dataclass
class Failures:
    """Counts since this driver started; a new driver begins at zero.

    Args:
        retries: failures of a job that are forgiven.
    """

    retries: int
    _counted: dict[str, int] = field(default_factory=dict)
    _preempted: dict[str, int] = field(default_factory=dict)
    _furthest: dict[str, int] = field(default_factory=dict)

    def progressed(self, name: str, epoch: int) -> None:
        """A job reports an epoch; a resumed run repeats its last one, which is no progress."""
        if epoch > self._furthest.get(name, -1):
            self._furthest[name] = epoch
            self._preempted.pop(name, None)

    def note(self, name: str, kind: str) -> bool:
        """Take an attempt's end; True if the job is to be tried again."""
        if kind in NOT_ITS_FAULT:
            self._preempted[name] = self._preempted.get(name, 0) + 1
            return self._preempted[name] <= PREEMPTIONS_WITHOUT_PROGRESS
        self._counted[name] = self._counted.get(name, 0) + 1
        return self._counted[name] <= self.retries
