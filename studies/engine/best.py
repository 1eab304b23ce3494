"""The best search trial of each group so far, in the order the study itself ranks them. No torch, no ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna


@dataclass(frozen=True)
class Best:
    """A trial that leads its group."""

    name: str
    group: str
    label: str
    epoch: int
    value: float


class BestSoFar:
    """Furthest epoch first, then the score, as :meth:`studies.engine.search.Search.ranking` has it; looks at each end
    once."""

    def __init__(self, jobs: Jobs):
        self._jobs, self._looked = jobs, 0
        self._best: dict[str, Best] = {}

    def __call__(self) -> list[Best]:
        """The leaders on record, by group."""
        if self._jobs.search is None:
            return []
        ends = self._jobs.decisions.of("finish")
        for line in ends[self._looked :]:
            self._take(line)
        self._looked = len(ends)
        return [self._best[group] for group in sorted(self._best)]

    def _take(self, line: dict[str, Any]) -> None:
        job = self._jobs.search.trials.get(line["trial"])
        if job is None or line["value"] is None or line["state"] not in ("complete", "pruned"):
            return
        question = self._jobs.search.question
        if not question.eligible(question.params(job.overrides)):
            return
        leader = self._best.get(job.group)
        if leader is None or (line["epoch"], line["value"]) > (leader.epoch, leader.value):
            self._best[job.group] = Best(job.name, job.group, job.label, line["epoch"], line["value"])
