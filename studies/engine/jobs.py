"""What runs next: the study's whole logic, without Ray, from what is on record.

Order: runs that were begun, trials that may go on at a rung, new search trials, controls while trials are waited for,
and, once every trial has ended, the race of the first few of each level, and then the winners with a reference on the
seed list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studies.engine import budget
from studies.engine.comparison import Comparison
from studies.engine.decisions import Decisions
from studies.engine.failures import NOT_ITS_FAULT, Failures
from studies.engine.job import NOT_RUN, PAUSED, Job, Seen
from studies.engine.noise_floor import NoiseFloor
from studies.engine.plan import Plan
from studies.engine.question import Question
from studies.engine.search import Search
from trainer.record.identity import arm_id, run_id


class Jobs:
    """Hands out jobs and takes their results; every choice is on record before it acts.

    Args:
        question: declares the search, None for a study without one.
        on_record: reports of a job's epochs that are on record already, oldest first, and whether its run completed.
            Where it is given, a job has ended only if its run's record says so.

    Attributes:
        lost: one line per job that had ended, but whose run is not whole on record any more: it is run again.
    """

    def __init__(
        self,
        plan: Plan,
        decisions: Decisions,
        question: Question | None = None,
        on_record: Callable[[Job], tuple[list[Seen], bool]] | None = None,
    ):
        self.plan, self.decisions = plan, decisions
        self.search = Search(plan, decisions, question) if question is not None and plan.num_trials else None
        self.failures = Failures(plan.limits.retries)
        self.running: dict[str, Job] = {}
        self.labels: dict[str, str] = {}
        self.budget_reached: str | None = None
        self._on_record = on_record
        self.lost: list[str] = []
        self._ends = {line["name"]: line for line in decisions.of("finish") if line["state"] not in NOT_RUN}
        for line in decisions.of("finish"):  # the last one counts
            if line["state"] in NOT_RUN:
                self._ends.pop(line["name"], None)
        self.states = {name: line["state"] for name, line in self._ends.items()}
        self._again: list[Job] = []
        self.noise = NoiseFloor(plan, decisions, self._whole)
        self.comparison = Comparison(plan, decisions, self._whole)
        if self.search is not None:
            self._again, stopped = self.search.rebuild(self._whole)
            for job, stop in stopped:  # the driver died before it could note the end
                self._finish(job, stop.state, stop.epoch, stop.value, stop.objectives)
            self._settle()  # chooses too, so that a study whose runs all ended is seen to be complete

    # --- what Ray asks

    def next(self) -> Job | None:
        """The next job that needs a worker, or None if there is nothing to start now."""
        while self.may_start() and (job := self._take()) is not None:
            self.running[job.name] = job
            self.labels[job.name] = job.label
            if not self._from_record(job):
                return job
        return None

    def may_start(self) -> bool:
        """Whether the budget lets another job start; once spent it stays so."""
        if self.budget_reached is None:
            self.budget_reached = budget.exhausted(
                self.plan.limits, *self.decisions.spent(self.plan.limits.usd_per_hour)
            )
        return self.budget_reached is None

    @property
    def done(self) -> bool:
        """Nothing runs and nothing will be started."""
        return not self.running and (self.left == 0 or not self.may_start())

    @property
    def complete(self) -> bool:
        """Nothing is left to run, to choose or to look at."""
        return not self.running and self.left == 0 and self.comparison.selected and not self.comparison.may_look

    @property
    def left(self) -> int:
        """Jobs not yet handed out; those of arms still to be selected are counted."""
        trials = self.plan.num_trials - len(self.search.trials) + len(self.search.waiting) if self.search else 0
        return len(self._again) + len(self.noise.queue) + trials + self.comparison.left

    @property
    def unfinished(self) -> list[Job]:
        """Jobs known by now that have not ended: running, to be tried again, or waiting."""
        waiting = [self.search.trials[number] for number in self.search.waiting] if self.search else []
        return [*self.running.values(), *self._again, *self.noise.queue, *waiting, *self.comparison.queue]

    def started(self, name: str) -> None:
        """A job that was handed out has its place."""
        self.decisions.append("start", name=name, trial=self.running[name].trial)
        if len(self.decisions.of("start")) == 1:
            self.comparison.write()  # who looks on sees what will be compared

    def report(self, name: str, seen: Seen) -> bool:
        """A running job's epoch; True if it must stop here."""
        job = self.running[name]
        self.failures.progressed(name, seen.epoch)
        return job.trial is not None and self.search.report(job, seen) is not None

    def end(self, name: str, seen: Seen) -> str:
        """A job's run ended by itself or was stopped; returns its state, which is on record, or ``paused``."""
        job = self.running[name]
        stop = self.search.report(job, seen) if job.trial is not None else None
        if stop is not None and stop.state == PAUSED:
            del self.running[name]
            self._settle()
            return PAUSED
        if stop is not None:
            state = stop.state
        elif seen.diverged:
            state = "diverged"
        elif seen.epoch >= self.plan.epochs:
            state = "complete"
        else:
            self.fail(
                name,
                "failed",
                seen.epoch,
                f"the run ended at epoch {seen.epoch} of {self.plan.epochs} without a reason",
            )
            return "failed"
        del self.running[name]
        self._finish(job, state, seen.epoch, None if state == "diverged" else seen.score, seen.objectives)
        self._settle()
        return state

    def fail(self, name: str, kind: str, epoch: int, reason: str, final: bool = False) -> bool:
        """An attempt ended without a result; True if the job will be tried again, otherwise it counts as not run.

        Args:
            final: trying again is no use.
        """
        job = self.running.pop(name)
        waits = self.search is not None and job.trial in self.search.waiting  # it had only to end
        again = waits or (self.failures.note(name, kind) and not final)
        counted = kind not in NOT_ITS_FAULT and not waits
        self.decisions.append(
            "fail", name=name, trial=job.trial, kind=kind, counted=counted, again=again, epoch=epoch, reason=reason
        )
        if waits:
            self._settle()
        elif again:
            self._again.append(job)
        else:
            self._finish(job, "out_of_memory" if kind == "out_of_memory" else "failed", epoch, None, {})
            self._settle()
        return again

    def run_id(self, job: Job) -> str:
        return run_id(self.plan.config(job.overrides, job.seed))

    @property
    def failed(self) -> int:
        """Trials, and runs of the arms now compared, that in the end were not run."""
        last = {line["name"]: line for line in self.decisions.of("finish")}
        lost = [line for line in last.values() if line["state"] in NOT_RUN]
        if not lost:
            return 0
        # what only an earlier, shorter search had chosen is not tried again
        compared = {
            run_id(self.plan.config(arm.overrides, seed))
            for arm in self.comparison.arms
            for seed in self.comparison.seeds
        } | {*self.comparison.race.names, *self.noise.names}
        return sum(line["trial"] is not None or line["name"] in compared for line in lost)

    # --- how

    def _take(self) -> Job | None:
        if self._again:
            return self._again.pop(0)
        if self.noise.queue:
            return self.noise.queue.pop(0)
        job = (self.search.promote(self._busy) or self.search.next()) if self.search is not None else None
        if job is None:
            self._select_if_ended()
            job = self.comparison.queue.pop(0) if self.comparison.queue else None
        return job

    @property
    def _busy(self) -> set[int]:
        """Trials that have a worker."""
        return {job.trial for job in self.running.values() if job.trial is not None}

    def _settle(self) -> None:
        for job, stop in self.search.settle(self._busy) if self.search is not None else ():
            self._finish(job, stop.state, stop.epoch, stop.value, stop.objectives)
        self._select_if_ended()  # a choice costs nothing, so that a spent budget does not leave it open

    def _select_if_ended(self) -> None:
        if not self.comparison.selected and (self.search is None or self.search.all_ended):
            self.comparison.select(self.search)
            self.comparison.write()

    def _whole(self, job: Job) -> bool:
        """Whether a job has ended, and its run's record bears that out. One that does not is noted as lost."""
        end = self._ends.get(job.name)
        if end is None:
            return False
        if self._on_record is None:
            return True
        seen, completed = self._on_record(job)
        problem = lost(end, seen, completed, self.plan.epochs)
        if problem is None:
            return True
        name = self.run_id(job)
        self.decisions.append("lost", name=job.name, trial=job.trial, run_id=name, reason=problem)
        self.lost.append(f"{job.label or job.name}: {self.plan.folder / 'runs' / name / 'records.jsonl'} {problem}")
        del self._ends[job.name], self.states[job.name]
        return False

    def _from_record(self, job: Job) -> bool:
        """Judge a job by the epochs it has on record; True if nothing is left to train."""
        seen, completed = self._on_record(job) if self._on_record else ([], False)
        for epoch in seen:
            if self.report(job.name, epoch) or epoch.diverged:
                self.end(job.name, epoch)
                return True
        if completed and seen and seen[-1].epoch >= self.plan.epochs:
            self.end(job.name, seen[-1])
            return True
        return False

    def _finish(
        self, job: Job, state: str, epoch: int, score: float | None, objectives: dict[str, float | None]
    ) -> None:
        config = self.plan.config(job.overrides, job.seed)
        ids = {"run_id": run_id(config), "arm_id": arm_id(config)}
        self.decisions.append(
            "finish",
            name=job.name,
            trial=job.trial,
            **ids,
            epoch=epoch,
            value=score,
            objectives=objectives,
            state=state,
        )
        self.states[job.name] = state
        self.comparison.finished(job.name, state, score)
        if job.trial is not None:
            self.search.end(job, state, epoch, objectives)


def lost(end: dict[str, Any], seen: list[Seen], completed: bool, epochs: int) -> str | None:
    """Why a run's record does not bear out how its job ended, in words; None if it does.

    Args:
        end: the job's ``finish`` line.
        seen: reports of its epochs on record.
        epochs: where a complete run ends.
    """
    last = epochs if end["state"] == "complete" else end["epoch"] or 0
    there = {one.epoch for one in seen}
    missing = [epoch for epoch in range(1, last + 1) if epoch not in there]
    if not seen and last:
        return "is missing, empty or without its beginning"
    if missing:
        return f"lacks epoch {', '.join(map(str, missing))} of {last}"
    if end["state"] == "complete" and not completed:
        return "does not say that the run was completed"
    return None
