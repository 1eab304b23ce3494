"""The best of a search run once more on fresh seeds, and the winner alone goes on to the verdict.

A search chooses the luckiest of its trials as well as the best. One more seed for each of the first few tells more per
epoch than the same seeds spent on confirming all of them: by simulation, at equal cost, the winner is within a point of
the best in .79 instead of .67 of searches, and its repair is resolved in .95 instead of .64
(tests/benchmarks/protocol.py). Seeds of search, race and verdict are disjoint, so that the verdict is about numbers
that chose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studies.engine.candidates import Candidate, finite
from studies.engine.decisions import Decisions
from studies.engine.job import Job
from studies.engine.plan import Plan
from trainer.record.identity import run_id


class Race:
    """One race per level of the strata.

    Args:
        ended: whether a job need not run again.
    """

    def __init__(self, plan: Plan, decisions: Decisions, ended: Callable[[Job], bool]):
        self._plan, self._decisions, self._ended = plan, decisions, ended
        self._open: set[str] = set()
        self._results: dict[str, float | None] = {}
        self.entered: dict[str, list[Candidate]] = {}
        """Who runs against whom, by level, in the order of the search."""

    @property
    def begun(self) -> bool:
        return bool(self.entered)

    @property
    def over(self) -> bool:
        return self.begun and not self._open

    @property
    def names(self) -> set[str]:
        """Names of all its runs."""
        return {self._name(one, seed) for found in self.entered.values() for one in found for seed in self._plan.races}

    def enter(self, level: str, candidates: list[Candidate], who: dict[str, Any]) -> list[Job]:
        """Put a race on record; returns the runs it still needs."""
        self.entered[level] = candidates
        if len(candidates) < 2:
            return []
        seeds = list(self._plan.races)
        line: dict[str, Any] = {**who, "trials": [c.trial for c in candidates], "values": [c.value for c in candidates]}
        line |= {"epochs": [c.epoch for c in candidates], "seeds": seeds}
        line["race_runs"] = [[self._name(c, seed) for seed in seeds] for c in candidates]
        noted = self._decisions.last("race", **who)
        if noted is None or noted["trials"] != line["trials"]:
            self._decisions.append("race", **line)
        return [job for one in candidates for seed in seeds if (job := self._job(one, seed)) is not None]

    def finished(self, name: str, state: str, value: float | None) -> None:
        """A run ended."""
        if name in self._open:
            self._open.discard(name)
            self._results[name] = value if state == "complete" else None

    def order(self, level: str) -> list[tuple[Candidate, float | None]]:
        """The level's candidates and their means, best first.

        The mean is over the race and, where every candidate has a full-length value from the search, that one too: it
        helped to choose them all alike, so it is too high, but says something about their order. One without a value
        in some race is last.
        """
        candidates = self.entered[level]
        with_search = all(one.state == "complete" for one in candidates)
        scored = []
        for place, one in enumerate(candidates):
            values = [self._results.get(self._name(one, seed)) for seed in self._plan.races]
            values += [one.value] if with_search else []
            known = len(candidates) > 1 and all(map(finite, values))
            scored.append((one, sum(values) / len(values) if known else None, place))
        scored.sort(key=lambda entry: (entry[1] is None, -(entry[1] or 0.0), entry[2]))
        return [(one, mean) for one, mean, _ in scored]

    def _job(self, candidate: Candidate, seed: int) -> Job | None:
        name = self._name(candidate, seed)
        job = Job(name, None, "", "", f"{candidate.label} race seed {seed}", candidate.overrides, seed, role="race")
        if self._ended(job):
            line = self._decisions.last("finish", name=name)
            self._results[name] = line["value"] if line["state"] == "complete" else None
            return None
        if name in self._open:  # two levels may share a run
            return None
        self._open.add(name)
        return job

    def _name(self, candidate: Candidate, seed: int) -> str:
        return run_id(self._plan.config(candidate.overrides, seed))
