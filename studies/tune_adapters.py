"""The study's logic behind Ray Tune's searcher, scheduler and callback interfaces. Nothing is decided here.

Ray's own restore forgets the rungs and its OptunaSearch tells stopped trials as complete, so a driver never
restores a Tune experiment: it starts a new one whose jobs continue the runs on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager  # no public way: see errors_kept
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.trial_scheduler import TrialScheduler as Decision
from ray.tune.search import Searcher

from studies.interrupt import Interrupt
from studies.engine.job import Job, Seen
from studies.engine.jobs import Jobs
from studies.lifeline import Lifeline
from studies.packing import Packing
from studies.ray_errors import kind_of, refusal
from studies.watchdog import Watchdog
from studies.worker_groups import WorkerGroups
from trainer.errors import UsageError
from trainer.failure import Failure, describe
from trainer.ray_worker import FAILURE

TICK_SECONDS = 60
WAITING_SECONDS = 15.0


class _NotSaved:
    """Tune snapshots its parts; ours are rebuilt from the record, so nothing is saved."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(_NotSaved, Searcher):
    """Gives Tune the next job as a trial's configuration.

    Args:
        may_start: whether another trial may be handed out beside so many running ones.
        look_around: called at every question: while nothing runs, Tune asks again and again and does nothing else for
            up to ten minutes.
    """

    def __init__(
        self, jobs: Jobs, task: Callable[[Job], dict[str, Any]], may_start: Callable[[int], bool], look_around: Callable[[], None]
    ):
        super().__init__(metric="score", mode="max")
        self._jobs, self._task, self._may_start, self._look_around = jobs, task, may_start, look_around

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._look_around()
        job = self._jobs.next() if self._may_start(len(self._jobs.running)) else None
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

    def __init__(self, jobs: Jobs, packing: Packing):
        self._jobs, self._packing = jobs, packing

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        pass

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict) -> str:
        if FAILURE in result:
            return Decision.CONTINUE  # it ends by itself
        self._packing.take(result)
        stop = self._jobs.report(trial.config["name"], Seen.of(result))
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
        return "successive halving, from the study's record"


class JobCallback(_NotSaved, tune.Callback):
    """Ends jobs, shows progress, frees the placement groups of multi-worker trials, and kills a silent one.

    Args:
        groups: of trials with workers of their own, None if there are none.
        show: called with (what, job name, fields), what being ``start``, ``epoch``, ``again``, ``hung``, ``waiting``, ``stalled`` or
            an end state.
        ended: called after every end on record.
        lifeline: tells when Ray itself is gone; None if nobody watches.
        errors: what :func:`errors_kept` gives.
        hide: takes secrets out of a text.
    """

    def __init__(
        self,
        jobs: Jobs,
        show: Callable[[str, str, dict[str, Any]], None],
        watchdog: Watchdog,
        groups: WorkerGroups | None,
        interrupt: Interrupt,
        ended: Callable[[], None],
        lifeline: Lifeline | None = None,
        errors: dict[str, BaseException] | None = None,
        hide: Callable[[str], str] = lambda text: text,
    ):
        self._jobs, self._show, self._watchdog, self._ended = jobs, show, watchdog, ended
        self._groups, self._interrupt, self._lifeline = groups, interrupt, lifeline
        self._errors, self._hide = {} if errors is None else errors, hide
        self._told: dict[str, Failure] = {}
        self._killed: set[str] = set()
        self._any_trained = False
        self._ticked = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Called several times a second, whether or not anything happened."""
        self.look_around()
        for name in self._watchdog.hung():
            trial = next(trial for trial in trials if trial.config.get("name") == name and not trial.is_finished())
            self._show("hung", name, {"minutes": self._watchdog.silence / 60})
            self._watchdog.gone(name)
            self._killed.add(name)
            if trial.temporary_state.ray_actor is not None:
                ray.kill(trial.temporary_state.ray_actor)

    def look_around(self) -> None:
        """What must not wait for a trial to say something."""
        self._interrupt.check()
        if self._lifeline is not None:
            self._lifeline.check()
        waiting = len(self._jobs.running) or self._jobs.left
        if self._watchdog.waited(waiting, WAITING_SECONDS):
            self._show("waiting", "", {"have": ray.cluster_resources(), "free": ray.available_resources()})
        if self._watchdog.stalled(waiting):
            self._show("stalled", "", {"minutes": self._watchdog.silence / 60, "have": ray.cluster_resources()})
        if time.monotonic() - self._ticked > TICK_SECONDS:
            self._ticked = time.monotonic()
            self._jobs.decisions.append("tick")
            if self._jobs.running and not self._watchdog.watched and not self._jobs.may_start():
                raise KeyboardInterrupt  # the budget went while a trial waited for a place

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._jobs.started(trial.config["name"])
        self._watchdog.heard(trial.config["name"])
        if self._groups is not None:
            self._groups.started(trial.config["name"])
        self._show("start", trial.config["name"], {})

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any) -> None:
        self._watchdog.heard(trial.config["name"])
        if FAILURE in result:
            self._told[trial.config["name"]] = result[FAILURE]
            return
        self._any_trained = True
        if self._groups is not None:
            self._groups.told(trial.config["name"], result.get("placement_group"))
        self._show("epoch", trial.config["name"], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name, result = trial.config["name"], trial.last_result or {}
        self._gone(trial)
        if name in self._killed:  # it answered while it was being killed
            self._killed.discard(name)
        state = self._jobs.end(name, Seen.of(result))
        self._show(state, name, result)
        self._ended()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        name, result = trial.config["name"], trial.last_result or {}
        self._gone(trial)
        failure = self._failure_of(trial)
        refused = refusal(failure)
        kind, reason = kind_of(failure, result.get("nodes") or ())
        if refused is None and name not in self._told and self._lifeline is not None and (gone := self._lifeline.gone_now()):
            kind, reason = "preempted", f"Ray itself went away: {gone}"
        if name in self._killed:
            self._killed.discard(name)
            kind, reason = "hung", f"silent for {self._watchdog.silence / 60:g} minutes"
        self._told.pop(name, None)
        again = self._jobs.fail(name, kind, int(result.get("epoch") or 0), reason, final=refused is not None)
        self._show("again" if again else kind, name, {**result, "kind": kind, "reason": reason, "trace": failure["trace"] if failure else reason})
        self._ended()
        if kind == "disk_full":  # every trial would end so, one after the other: the study waits for whoever can make room
            raise UsageError(f"{reason}; what is on record stands: make room, and the same command with --resume continues")
        if refused is not None and not self._any_trained:
            raise UsageError(f"no trial can run: {refused}")

    def _gone(self, trial: Trial) -> None:
        self._watchdog.gone(trial.config["name"])
        if self._groups is not None:
            self._groups.gone(trial.config["name"])

    def _failure_of(self, trial: Trial) -> Failure | None:
        """What the trial told itself, or else what Ray says of it."""
        error = self._errors.pop(trial.trial_id, None)
        if trial.config["name"] in self._told:
            return self._told[trial.config["name"]]
        return None if error is None else describe(error, self._hide)


@contextmanager
def errors_kept() -> Iterator[dict[str, BaseException]]:
    """While this lasts, the exceptions that Ray hands to Tune's trials, by trial id.

    Tune offers them as a pickle in a folder that Ray makes writable for everyone; this is the same object without the file.
    Tune 2.60 also knows only two kinds of them, and ends the whole study at a third: the one Ray's memory monitor leaves, when
    a neighbour's memory kills a trial. It reaches Tune as what it means here, an actor that died.
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
