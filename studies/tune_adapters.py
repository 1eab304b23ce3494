"""The study's logic behind Ray Tune's searcher, scheduler and callback interfaces. Nothing is decided here.

Ray's own restore forgets the rungs and its OptunaSearch tells stopped trials as complete, so a driver never
restores a Tune experiment: it starts a new one whose jobs continue the runs on record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.trial_scheduler import TrialScheduler as Decision
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, remove_placement_group

from studies.jobs import Job, Jobs


class _NotSaved:
    """Tune snapshots its parts; ours are rebuilt from the record, so nothing is saved."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(_NotSaved, Searcher):
    """Gives Tune the next job as a trial's configuration."""

    def __init__(self, jobs: Jobs, task: Callable[[Job], dict[str, Any]]):
        super().__init__(metric="score", mode="max")
        self._jobs, self._task = jobs, task

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        job = self._jobs.next()
        if job is not None:
            return self._task(job)
        # nothing now: for good if nothing runs either, else until a trial ends
        return Searcher.FINISHED if self._jobs.done else None

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass  # the callback below sees the trial itself

    def save(self, checkpoint_path: str) -> None:
        pass  # decisions.jsonl is the state

    def restore(self, checkpoint_path: str) -> None:
        pass


class JobScheduler(_NotSaved, TrialScheduler):
    """Asks the study whether a trial stops, at every epoch it reports."""

    def __init__(self, jobs: Jobs):
        self._jobs = jobs

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict) -> str:
        stop = self._jobs.report(trial.config["name"], result["epoch"], result["score"], bool(result.get("diverged")))
        return Decision.STOP if stop else Decision.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict) -> None:
        pass

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING:
                return trial
        return None

    def debug_string(self) -> str:
        return "successive halving per teacher, from the study's record"


class JobCallback(_NotSaved, tune.Callback):
    """Ends jobs, shows progress, and frees the placement group of a stopped multi-worker trial.

    Args:
        show: called with (what, job name, result), what being ``start``, ``epoch``, or the end state.
    """

    def __init__(self, jobs: Jobs, show: Callable[[str, str, dict[str, Any]], None], epochs: int):
        self._jobs, self._show, self._epochs = jobs, show, epochs

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._show("start", trial.config["name"], {})

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any) -> None:
        self._show("epoch", trial.config["name"], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        result = trial.last_result or {}
        epoch = int(result.get("epoch", 0))
        state = "diverged" if result.get("diverged") else "complete" if epoch >= self._epochs else "pruned"
        self._end(trial, state)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial, "failed")

    def _end(self, trial: Trial, state: str) -> None:
        result = trial.last_result or {}
        group = result.get("placement_group")
        if group:
            # Ray frees it only through its dashboard's API server; without one the next trial would wait for ever
            from ray._raylet import PlacementGroupID

            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
        name = trial.config["name"]
        self._jobs.end(name, state, int(result.get("epoch", 0)), result.get("score"))
        self._show(state, name, {**result, "error_file": getattr(trial, "error_file", None)})
