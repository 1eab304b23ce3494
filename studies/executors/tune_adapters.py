"""Ray Tune's searcher, scheduler and callback interfaces, which only pass on what they are asked and told.

Ray's own restore forgets the rungs and its OptunaSearch tells stopped trials as complete, so a driver never
restores a Tune experiment: it starts a new one whose jobs continue the runs on record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager  # no public way: see errors_kept
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.trial_scheduler import TrialScheduler as Decision
from ray.tune.search import Searcher

from trainer.workers.failure import Failure, describe
from trainer.workers.ray_worker import FAILURE

FINISHED = Searcher.FINISHED


class _NotSaved:
    """Tune snapshots its parts; ours are rebuilt from the record, so nothing is saved."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TaskSearcher(_NotSaved, Searcher):
    """Gives Tune the next task as a trial's configuration.

    Args:
        next_task: a task, None for nothing now, or FINISHED. While nothing runs, Tune asks again and again and does
            nothing else for up to ten minutes.
    """

    def __init__(self, next_task: Callable[[], dict[str, Any] | str | None]):
        super().__init__(metric="score", mode="max")
        self._next_task = next_task

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._next_task()

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass  # the callback below sees the trial itself

    def save(self, checkpoint_path: str) -> None:
        pass  # decisions.jsonl is the state

    def restore(self, checkpoint_path: str) -> None:
        pass


class ReportScheduler(_NotSaved, TrialScheduler):
    """Asks at every epoch that a trial reports whether it stops there.

    Args:
        stops: called with the trial and its report.
    """

    def __init__(self, stops: Callable[[Trial, dict[str, Any]], bool]):
        self._stops = stops

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict) -> str:
        if any(key.partition("/")[0] == FAILURE for key in result):  # Tune gives its scheduler nested results as paths
            return Decision.CONTINUE  # it ends by itself
        return Decision.STOP if self._stops(trial, result) else Decision.CONTINUE

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
        return "successive halving, from the study's record"


class TrialCallback(_NotSaved, tune.Callback):
    """Says which trials start, end and fail.

    Args:
        started, ended: called with the trial.
        failed: called with the trial and what it told itself, or else what Ray says of it; None if nobody said
            anything.
        stepped: called several times a second, whether or not anything happened.
        errors: what :func:`errors_kept` gives.
        hide: takes secrets out of a text.
    """

    def __init__(
        self,
        started: Callable[[Trial], None],
        ended: Callable[[Trial], None],
        failed: Callable[[Trial, Failure | None, bool], None],
        stepped: Callable[[], None],
        errors: dict[str, BaseException],
        hide: Callable[[str], str],
    ):
        self._started, self._ended, self._failed, self._stepped = started, ended, failed, stepped
        self._errors, self._hide = errors, hide
        self._told: dict[str, Failure] = {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._stepped()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._started(trial)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any) -> None:
        if FAILURE in result:
            self._told[trial.trial_id] = result[FAILURE]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error, told = self._errors.pop(trial.trial_id, None), self._told.pop(trial.trial_id, None)
        failure = told if told is not None or error is None else describe(error, self._hide)
        self._failed(trial, failure, told is not None)


@contextmanager
def any_worker() -> Iterator[None]:
    """While this lasts, Tune's trials take the workers that Ray has started already.

    Tune gives each trial's process a variable for PyTorch Lightning. No worker has it that was started before, so Ray
    would start others, each by way of a process that sets it: a processor second a trial.
    """
    before = dict(class_cache.DEFAULT_ENV_VARS)
    class_cache.DEFAULT_ENV_VARS.clear()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS.update(before)


@contextmanager
def errors_kept() -> Iterator[dict[str, BaseException]]:
    """While this lasts, the exceptions that Ray hands to Tune's trials, by trial id.

    Tune offers them as a pickle in a folder that Ray makes writable for everyone; this is the same object without the
    file. Tune 2.60 also knows only two kinds of them, and ends the whole study at a third: the one Ray's memory monitor
    leaves, when a neighbour's memory kills a trial. It reaches Tune as what it means here, an actor that died: Tune
    asks nobody else before it ends, and a trial that was killed cannot catch it.
    """
    kept: dict[str, BaseException] = {}
    original, task_failed = Trial.handle_error, RayActorManager._actor_task_failed

    def handle_error(self: Trial, exc: BaseException | None = None) -> None:
        if exc is not None:
            kept[self.trial_id] = exc
        original(self, exc)

    def known(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, (RayActorError, RayTaskError)):
            died = RayActorError()
            died.__cause__ = exception
            exception = died
        task_failed(self, tracked_actor_task, exception)

    Trial.handle_error, RayActorManager._actor_task_failed = handle_error, known
    try:
        yield kept
    finally:
        Trial.handle_error, RayActorManager._actor_task_failed = original, task_failed
