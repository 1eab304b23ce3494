"""What runs next: the study's whole logic, without Ray, from the decisions on record.

Order: runs an earlier driver left unfinished, search trials, controls while the last trials end, and, once
every trial has ended, the best arm of each teacher with its lambda-0 twin on the seed list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studies.decisions import Decisions
from studies.halving import Halving
from studies.plan import Arm, Plan, lambda_zero
from studies.sampling import Sampling
from trainer.identity import arm_id, run_id


@dataclass(frozen=True)
class Job:
    """One run to execute.

    Attributes:
        name: unique in the study: ``t007`` for trial 7, ``<run_id>`` for a compared run.
        trial: number of the search trial, None for a compared run.
        bracket: the teacher, for halving.
    """

    name: str
    trial: int | None
    bracket: str
    label: str
    overrides: dict[str, Any]
    seed: int
    baselines: bool = False


class Jobs:
    """Hands out jobs and takes their results; every choice is on record before it acts.

    Args:
        sampling: None for a study without a search.
        to_overrides: configuration keys of a search point.
        describe: label of a search point.
    """

    def __init__(
        self,
        plan: Plan,
        decisions: Decisions,
        sampling: Sampling | None = None,
        to_overrides: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        describe: Callable[[dict[str, Any]], str] = str,
    ):
        self.plan, self.decisions, self.sampling = plan, decisions, sampling
        self._to_overrides, self._describe = to_overrides, describe
        self.halving = Halving(plan.rungs, plan.eta)
        self.running: dict[str, Job] = {}
        self.labels: dict[str, str] = {}
        self.searched: dict[int, Job] = {}
        # a failed run was not run: it is tried again
        states = {line["name"]: line["state"] for line in decisions.of("finish")}
        self._ended: dict[str, str] = {name: state for name, state in states.items() if state != "failed"}
        self._unfinished: list[Job] = []
        self._arms = list(plan.arms)
        self._queue: list[Job] = self._arm_jobs(self._arms)
        self._selected = not plan.confirm
        self._rebuild()

    # --- what Ray asks

    def next(self) -> Job | None:
        """The next job, or None if there is nothing to start now."""
        job = self._unfinished.pop(0) if self._unfinished else self._next_trial() or self._next_compared()
        if job is not None:
            self.running[job.name] = job
            self.labels[job.name] = job.label
        return job

    @property
    def done(self) -> bool:
        """Nothing runs and nothing is left to start."""
        return self.left == 0 and not self.running

    @property
    def left(self) -> int:
        """Jobs not yet handed out; those of arms still to be selected are counted."""
        trials = self.plan.num_trials - len(self.searched)
        unknown = 0 if self._selected else 2 * len(self.plan.confirm) * len(self.plan.seeds)
        return len(self._unfinished) + trials + len(self._queue) + unknown

    def report(self, name: str, epoch: int, score: float | None, diverged: bool) -> bool:
        """A running job's epoch; True if it must stop here."""
        job = self.running[name]
        if self._stop(name):
            return True
        if job.trial is None or diverged:
            return False
        rung = self.halving.due(job.bracket, job.trial, epoch)
        if rung is None:
            return False
        decision = self.halving.decide(job.bracket, job.trial, rung, score)
        inputs = {"rung": rung, "value": decision.value, "cutoff": decision.cutoff, "peers": decision.peers}
        who = {"trial": job.trial, "name": name, "epoch": epoch, "bracket": job.bracket}
        self.decisions.append("rung", **who, **inputs, stop=decision.stop)
        if decision.stop:
            reason = f"not in the top 1/{self.plan.eta} of {decision.peers} {job.bracket} trials at epoch {rung}"
            ids = {"run_id": self.run_id(job), "arm_id": self.arm_id(job)}
            self.decisions.append("stop", **who, **inputs, **ids, reason=reason)
        return decision.stop

    def end(self, name: str, state: str, epoch: int, score: float | None) -> None:
        """A job ended: ``complete``, ``pruned``, ``diverged`` or ``failed`` (not run; never a bad score)."""
        job = self.running.pop(name)
        ids = {"run_id": self.run_id(job), "arm_id": self.arm_id(job)}
        self.decisions.append("finish", name=name, trial=job.trial, **ids, epoch=epoch, value=score, state=state)
        self._ended[name] = state
        if job.trial is not None and self.sampling is not None:
            self.sampling.tell(job.trial, state, epoch, score)

    def run_id(self, job: Job) -> str:
        return run_id(self.plan.config(job.overrides, job.seed))

    def arm_id(self, job: Job) -> str:
        return arm_id(self.plan.config(job.overrides, job.seed))

    # --- search

    def _next_trial(self) -> Job | None:
        number = len(self.searched)
        if self.sampling is None or number >= self.plan.num_trials:
            return None
        point, source, raw = self.sampling.suggest(number)
        return self._trial(number, point, source, raw, record=True)

    def _trial(self, number: int, point: dict[str, Any], source: str, raw: dict[str, Any], record: bool) -> Job:
        job = Job(f"t{number:03d}", number, point["teacher"], self._describe(point), self._to_overrides(point), self.plan.search_seed)
        self.searched[number] = job
        if record:
            ids = {"run_id": self.run_id(job), "arm_id": self.arm_id(job)}
            self.decisions.append("suggest", trial=number, name=job.name, **ids, params=point, raw=raw, source=source, label=job.label)
        return job

    @property
    def model_based(self) -> int:
        return sum(line["source"] == "model" for line in self.decisions.of("suggest"))

    # --- comparison

    def _next_compared(self) -> Job | None:
        if not self._queue and not self._selected and not self._search_running:
            self._select()
        return self._queue.pop(0) if self._queue else None

    @property
    def _search_running(self) -> bool:
        return any(job.name not in self._ended for job in self.searched.values()) or len(self.searched) < self.plan.num_trials

    def _select(self) -> None:
        """Choose each teacher's best arm by its search score at the last epoch, and queue it with its twin."""
        arms = []
        for teacher in self.plan.confirm:
            best = self._best(teacher)
            if best is None:
                self._note_choice(teacher, trial=None, reason="no trial with a positive lambda ended")
                continue
            job, line = best
            why = "best score at the last epoch" if line["state"] == "complete" else "none reached the last epoch: furthest, then best"
            self._note_choice(teacher, trial=job.trial, value=line["value"], epoch=line["epoch"], reason=why)
            key = f"best/{teacher}"
            arm = Arm(key, "best", job.label, job.overrides, f"{key}/lambda0", line["value"])
            arms += [arm, lambda_zero(arm)]
        self._arms += arms
        self._queue += self._arm_jobs(arms)
        self._selected = True

    def _note_choice(self, teacher: str, **choice: Any) -> None:
        noted = self.decisions.last("select", teacher=teacher)
        if noted is None or noted["trial"] != choice["trial"]:
            self.decisions.append("select", teacher=teacher, **choice)

    def _best(self, teacher: str) -> tuple[Job, dict[str, Any]] | None:
        candidates = []
        for line in self.decisions.of("finish"):
            job = self.searched.get(line["trial"]) if line["trial"] is not None else None
            usable = job is not None and job.bracket == teacher and line["state"] in ("complete", "pruned")
            if usable and line["value"] is not None and job.overrides["objective.weights.rate"] > 0:
                candidates.append((line["epoch"], line["value"], -job.trial, job, line))
        return max(candidates, key=lambda c: c[:3])[3:] if candidates else None

    def _arm_jobs(self, arms: list[Arm]) -> list[Job]:
        """Runs of the arms on the seed list, without those that already ended; a failed one is tried again."""
        jobs: list[Job] = []
        known = {name for name, state in self._ended.items() if state != "failed"}
        for arm in arms:
            if arm.role == "untrained":
                continue
            for seed in self.plan.seeds:
                config = self.plan.config(arm.overrides, seed)
                name = run_id(config)
                if name in known:
                    continue
                known.add(name)
                jobs.append(Job(name, None, "", f"{arm.label} seed {seed}", arm.overrides, seed, arm.role == "shared"))
        return jobs

    def write_comparison(self) -> None:
        """Put the compared arms on record, with the runs behind each."""
        ids = {arm.key: self.plan.arm_id(arm) for arm in self._arms}
        for arm in self._arms:
            config = self.plan.config(arm.overrides, self.plan.seeds[0])
            entry = {
                "arm_id": ids[arm.key],
                "role": arm.role,
                "label": arm.label,
                "teacher": config.objective.teacher,
                "lambda_rate": config.objective.weights.rate,
                "reference": ids.get(arm.reference),
                "peer": ids.get(arm.peer),
                "runs": [run_id(self.plan.config(arm.overrides, seed)) for seed in self.plan.seeds],
                "seeds": list(self.plan.seeds),
                "search_value": arm.search_value,
            }
            if entry != {k: v for k, v in (self.decisions.last("compare", arm_id=ids[arm.key], role=arm.role) or {}).items() if k != "event"}:
                self.decisions.append("compare", **entry)

    # --- after a restart

    def _rebuild(self) -> None:
        """Bring search, rungs and queue to where the record says they were."""
        if self.sampling is None:
            return
        finished = {line["trial"]: line for line in self.decisions.of("finish") if line["trial"] is not None}
        for line in self.decisions.of("suggest"):
            number = line["trial"]
            point, _, _ = self.sampling.suggest(number, fixed=line["raw"])
            job = self._trial(number, point, line["source"], line["raw"], record=False)
            stop = self._stop(job.name)
            if number in finished and finished[number]["state"] != "failed":
                end = finished[number]
                self.sampling.tell(number, end["state"], end["epoch"], end["value"])
            elif stop is not None:  # stopped, and the driver died before it could note the end
                self.running[job.name] = job
                self.end(job.name, "pruned", stop["epoch"], stop["value"])
            else:
                self._unfinished.append(job)
        for line in self.decisions.of("rung"):
            self.halving.put(line["bracket"], line["trial"], line["rung"], line["value"])
        if not self._selected and not self._search_running:
            self._select()  # so that a study whose runs all ended is seen to be complete

    def _stop(self, name: str) -> dict[str, Any] | None:
        """The decision that stopped a trial, if there is one; its ``stop`` line may have been lost to a kill."""
        return self.decisions.last("stop", name=name) or self.decisions.last("rung", name=name, stop=True)
