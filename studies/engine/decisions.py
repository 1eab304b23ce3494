"""``decisions.jsonl``: everything a study decided, with its inputs, and when.

Together with the runs' records it is all a study knows; a restarted driver continues from these two.

===========  ===============================================================================================
begin        a driver starts: schema_version (1 where it is absent), `at` which moment, machine, price per hour,
             registration
warm         a trial of an earlier study, told to the sampler before anything else; `place` numbers the earlier
             studies
suggest      trial, params, raw (the sampler's own), source
capacity     how many trials fit side by side from now on
start        a job has its place
rung, stop   a judgement with its inputs; a stop has a named reason; `wait`: the trial pauses at the rung
promote      a trial that waited goes on, with the judgement's inputs
fail         an attempt ended without a result, its kind, and whether it counts against the retries
lost         a job that had ended, but whose run is not whole on record any more; it is run again
finish       how a job ended: complete | pruned | collapsed | diverged | failed | out_of_memory
noise        the reference arm alone on seeds of its own, first of all
race         the first few of a search, run against each other on fresh seeds
select       the search trials whose arms are compared; with --choose smoothed their smoothed scores, whom the raw
             ones would have chosen, and every fitted trial as (trial, raw, smoothed)
compare      an arm of the comparison and its runs
look         contrasts still unresolved with n seeds, and the seeds that are added
tick         the driver lives (once a minute, so that a killed session's time is known)
session      a driver ended by itself: whether the study was finished, and the budget that was spent, if one was
===========  ===============================================================================================

``t`` is the time since the session's ``begin``, in seconds, by a clock that never jumps. Nothing is decided by it
but the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.record.jsonl import Appender
from trainer.record.study_lines import SCHEMA_VERSION, read_decisions

NAME = "decisions.jsonl"
VOLATILE = ("t", "at", "session")
"""Fields that may differ between two executions of the same study."""


class Decisions:
    """Appends events durably and holds those on record in order.

    Args:
        clock: seconds, monotonic.
        write: False only reads, and changes nothing.
    """

    def __init__(self, study: Path, clock: Callable[[], float] = time.monotonic, write: bool = True):
        self.path = study / NAME
        self.events: list[dict[str, Any]] = read_decisions(self.path, engine=True)  # before anything is changed
        self._lines = Appender(self.path) if write else None
        self.repaired = self._lines.repaired if write else None
        self._by_event: dict[str, list[dict[str, Any]]] = {}
        for line in self.events:
            self._by_event.setdefault(line["event"], []).append(line)
        self._clock, self._zero = clock, clock()
        self._earlier = _sessions(self.events)

    @property
    def session_seconds(self) -> float:
        """Since this driver started."""
        return self._clock() - self._zero

    def spent(self, usd_per_hour: float) -> tuple[float, float]:
        """(seconds, USD) of the study over all its sessions, as far as it is on record for those that were killed.

        Args:
            usd_per_hour: price of this session; the earlier ones have theirs on record.
        """
        sessions = [*self._earlier, (self.session_seconds, usd_per_hour)]
        return sum(seconds for seconds, _ in sessions), sum(seconds / 3600 * price for seconds, price in sessions)

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Put an event on record; it is durable when this returns.

        Raises:
            OSError: the disk is full or not writable.
        """
        line = {"event": event, "t": round(self.session_seconds, 3), **fields}
        if event == "begin":
            line["schema_version"] = SCHEMA_VERSION
        self._lines.append(line)
        self.events.append(line)
        self._by_event.setdefault(event, []).append(line)
        return line

    def of(self, event: str) -> list[dict[str, Any]]:
        """All events of a kind, oldest first; not a copy."""
        return self._by_event.get(event, [])

    def last(self, event: str, **match: Any) -> dict[str, Any] | None:
        """The newest event of a kind whose fields equal ``match``."""
        for line in reversed(self.of(event)):
            if all(line.get(key) == value for key, value in match.items()):
                return line
        return None

    def paused(self) -> dict[int, tuple[dict[str, Any], bool]]:
        """The last ``rung`` line at which a trial had to wait, and whether it still waits, by its number."""
        found: dict[int, tuple[dict[str, Any], bool]] = {}
        for line in self.events:
            trial = line.get("trial")
            if line["event"] == "rung" and line.get("wait"):
                found[trial] = line, True
            elif trial in found and line["event"] in ("promote", "stop", "finish"):
                found[trial] = found[trial][0], False
        return found

    def close(self) -> None:
        if self._lines:
            self._lines.close()


def comparable(line: dict[str, Any]) -> dict[str, Any]:
    """The part of an event that does not depend on when it happened."""
    return {key: value for key, value in line.items() if key not in VOLATILE}


def _sessions(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(seconds, USD per hour) of each session: the latest time noted in it."""
    found: list[tuple[float, float]] = []
    for line in events:
        if line["event"] == "begin" or not found:
            found.append((0.0, line.get("usd_per_hour", 0.0)))
        found[-1] = max(found[-1][0], line.get("t", 0.0)), found[-1][1]
    return found
