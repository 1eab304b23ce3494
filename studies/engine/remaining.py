"""How many epochs a study has on record and how many are still expected. No torch, no ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.engine.job import Job
from trainer.record.run import read
from trainer.record.writer import NAME

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna


class Remaining:
    """Counts epochs of a study, those of earlier sessions included.

    The number left is an expectation as long as trials may be stopped early; done / (done + left) never passes 1.
    """

    def __init__(self, jobs: Jobs):
        self._jobs = jobs
        self.at: dict[str, int] = {job.name: _on_record(jobs, job) for job in jobs.unfinished}
        """Epoch of every run that has not ended."""
        self._begun = self.done

    def reached(self, name: str, epoch: int) -> None:
        """A run reports an epoch."""
        self.at[name] = max(epoch, self.at.get(name, 0))

    @property
    def done(self) -> int:
        states = self._jobs.states
        ended = {line["name"]: line["epoch"] for line in self._jobs.decisions.of("finish") if line["name"] in states}
        return sum(ended.values()) + sum(epoch for name, epoch in self.at.items() if name not in ended)

    @property
    def trained(self) -> int:
        """Epochs since this driver started."""
        return self.done - self._begun

    @property
    def left(self) -> float:
        plan, jobs = self._jobs.plan, self._jobs
        epochs = 0.0
        for job in jobs.unfinished:
            at = self.at.get(job.name, 0)
            chance = plan.rule.share if jobs.search is not None and job.trial in jobs.search.waiting else 1
            epochs += plan.epochs - at if job.trial is None else chance * plan.expected_from(at)
        trials = plan.num_trials - len(jobs.search.trials) if jobs.search is not None else 0
        unknown = jobs.comparison.left - len(jobs.comparison.queue)
        return epochs + trials * plan.expected_from(0) + unknown * plan.epochs


def _on_record(jobs: Jobs, job: Job) -> int:
    run = job.name if job.trial is None else jobs.run_id(job)
    path = jobs.plan.folder / "runs" / run / NAME
    return max((line["epoch"] for line in read(path) if line["event"] == "epoch"), default=0)
