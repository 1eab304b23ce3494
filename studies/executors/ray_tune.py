"""Ray Tune as the executor of a study: on this machine, or on a cluster.

Tune calls whom it serves and cannot be asked, so it runs in a thread of its own, which stands still while the study thinks: at
every event it waits until the study asks for the next one.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from studies.capacity import Capacity, trials_at_once
from studies.executors.connection import PATIENCE, connect, own_token, places, start
from studies.executors.face import Event
from studies.executors.failure_kinds import refusal
from studies.executors.lifeline import ClusterLost, Lifeline, within
from studies.executors.worker_groups import WorkerGroups
from studies.interrupt import Interrupt
from studies.private_folder import TOKEN, TUNE, end_left
from studies.resume_command import resume_command
from studies.settings import Resources
from trainer.errors import UsageError
from trainer.failure import Failure

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

MOST_TRIALS = 4096
LOOK_SECONDS = 0.1
SHUTDOWN_SECONDS = 15.0
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records replace Tune's files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler ends with exit code 0
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # otherwise one report per 2 s
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    **PATIENCE,
}


class _Over(BaseException):
    """Raised in Tune's thread: the study ended, or gave up."""


class TuneExecutor:
    """An :class:`studies.executors.face.Executor`.

    Args:
        fit: runs Tune, which asks and tells what stands below under "Tune's side", until there is nothing left.
        capacity: how many trials fit now.
        groups: of trials with workers of their own, None if there are none.
        lifeline: tells when Ray itself is gone.
    """

    def __init__(self, fit: Callable[[TuneExecutor], None], capacity: Capacity, groups: WorkerGroups | None, lifeline: Lifeline):
        self._fit, self._capacity, self._groups, self._lifeline = fit, capacity, groups, lifeline
        self._tasks: deque[dict[str, Any]] = deque()
        self._news: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._trials: dict[str, Trial] = {}
        self._held: str | None = None
        self._stopped = False
        self._finished = self._given_up = False
        self._thread = threading.Thread(target=self._work, name="tune", daemon=True)

    # --- the study's side

    def room(self, running: int) -> bool:
        return self._capacity.may_start(running) and (self._groups is None or self._groups.settled())

    def start(self, task: dict[str, Any]) -> None:
        self._tasks.append(task)
        if self._thread.ident is None:
            self._thread.start()

    def events(self) -> Iterator[Event]:
        self._let_go()
        self._lifeline.check()
        try:
            news = self._news.get(timeout=LOOK_SECONDS)
        except Empty:
            return
        if isinstance(news, BaseException):
            raise news
        self._held = news.name
        yield news

    def stop(self, name: str) -> None:
        import ray

        if name == self._held:
            self._stopped = True
            return
        actor = self._trials[name].temporary_state.ray_actor if name in self._trials else None
        if actor is not None:
            ray.kill(actor)

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        import ray

        return ray.cluster_resources(), ray.available_resources()

    def close(self, finished: bool) -> None:
        """Let Tune end, or leave it where it is.

        Args:
            finished: nothing runs any more.
        """
        self._finished, self._given_up = finished, not finished
        self._answers.put(False)
        if self._thread.ident is not None:
            self._thread.join(SHUTDOWN_SECONDS if finished else 2.0)  # one that hangs in a lost Ray goes on hanging

    def _let_go(self) -> None:
        if self._held is not None:
            self._held, stopped, self._stopped = None, self._stopped, False
            self._answers.put(stopped)

    # --- Tune's side, in its thread

    def next_task(self) -> dict[str, Any] | str | None:
        from studies.executors.tune_adapters import FINISHED

        self.step()
        if self._tasks:
            return self._tasks.popleft()
        return FINISHED if self._finished else None

    def step(self) -> None:
        if self._given_up:
            raise _Over

    def started(self, trial: Trial) -> None:
        name = trial.config["name"]
        self._trials[name] = trial
        if self._groups is not None:
            self._groups.started(name)
        self._tell(Event("start", name))

    def reported(self, trial: Trial, result: dict[str, Any]) -> bool:
        name = trial.config["name"]
        if self._groups is not None:
            self._groups.told(name, result.get("placement_group"))
        return self._tell(Event("epoch", name, result))

    def ended(self, trial: Trial) -> None:
        self._tell(Event("end", self._gone(trial), trial.last_result or {}))

    def failed(self, trial: Trial, failure: Failure | None, told: bool) -> None:
        """An attempt ended without a result; ``told``: by its own word."""
        from studies.executors.ray_errors import kind_of

        name, result, refused = self._gone(trial), trial.last_result or {}, refusal(failure)
        kind, reason = kind_of(failure, result.get("nodes") or ())
        if refused is None and not told and (gone := self._lifeline.gone_now()):
            kind, reason = "preempted", f"Ray itself went away: {gone}"
        self._tell(Event("failed", name, result, kind, reason, failure["trace"] if failure else reason, refused))

    def _gone(self, trial: Trial) -> str:
        name = trial.config["name"]
        self._trials.pop(name, None)
        if self._groups is not None:
            self._groups.gone(name)
        return name

    def _tell(self, event: Event) -> bool:
        """Whether the trial stops here; answered when the study asks for the next event."""
        self._news.put(event)
        stops = self._answers.get()
        self.step()
        return stops

    def _work(self) -> None:
        try:
            self._fit(self)
        except _Over:
            return
        except BaseException as error:
            from studies.executors.ray_errors import own_error

            self._news.put(own_error(error) or error)
        else:
            if not self._finished:
                self._news.put(RuntimeError("Tune ended before the study did"))


@contextmanager
def opened(
    name: str,
    resources: Resources,
    folder: Path,
    *,
    address: str | None,
    dashboard: bool,
    interrupt: Interrupt,
    hide: Callable[[str], str],
    doing: Callable[[str], None],
    note: Callable[[str], None],
    capacity: Callable[[int], None],
) -> Iterator[TuneExecutor]:
    """Ray, started here or joined, for as long as the study lasts.

    Args:
        name: of the study.
        folder: the study's private one.
        address: of a running Ray cluster, or None to start Ray here.
        doing: says what takes a while.
        note: says a line for the user to keep.
        capacity: called with the number of trials that fit whenever it changes.

    Raises:
        UsageError: Ray does not start or answer, or no trial would ever find a place there.
    """
    lost: ClusterLost | None = None
    os.environ |= SETTINGS
    doing("starting Ray on this machine" if address is None else f"joining the Ray cluster at {address}")
    with own_token(folder) if address is None else nullcontext():
        try:
            with interrupt.later("Ray has started"):
                import ray

                import studies.executors.tune_adapters
                import trainer.ray_worker  # noqa: F401  (Tune: a second that is better spent here than at the first trial)

                for logger in ("ray", "ray.tune", "ray.train"):
                    logging.getLogger(logger).setLevel(logging.CRITICAL)  # failures are shown and kept by us
                context = start(folder, dashboard) if address is None else connect(address)
            _fits(resources, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            if dashboard:
                key = f"it asks for a token once: cat {folder / TOKEN}" if address is None else "it may ask for the cluster's token"
                note(f"dashboard: http://{context.dashboard_url} ({key}); it shows Ray's actors and nodes, not trials")
            with _watched(context, folder) as lifeline, studies.executors.tune_adapters.errors_kept() as errors:
                fit = _fit(name, resources, str(folder / TUNE), errors, hide)
                groups = _groups(resources) if resources.backend == "ray-train" else None
                executor = TuneExecutor(fit, Capacity(resources, ray.nodes, capacity), groups, lifeline)
                try:
                    yield executor
                except BaseException:
                    executor.close(finished=False)
                    raise
                executor.close(finished=True)
        except ClusterLost as error:
            lost = error
            raise
        finally:
            doing("stopping Ray")
            _shut_down(lost)
            if lost is not None:
                end_left(folder)


def _fit(name: str, resources: Resources, scratch: str, errors: dict[str, BaseException], hide: Callable[[str], str]) -> Callable[[TuneExecutor], None]:
    from ray import tune

    from studies.executors.tune_adapters import ReportScheduler, TaskSearcher, TrialCallback
    from trainer.ray_worker import DRIVER_CPUS, trial

    per_trial: Any = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
    if resources.backend == "ray-train":
        per_trial = {"CPU": DRIVER_CPUS}  # the trial itself only waits for its workers

    def fit(executor: TuneExecutor) -> None:
        tune.Tuner(
            tune.with_resources(trial, per_trial),
            tune_config=tune.TuneConfig(
                num_samples=-1,  # the searcher says when it is finished
                max_concurrent_trials=MOST_TRIALS,  # with a limit Tune asks early for so many; the study holds it back
                search_alg=TaskSearcher(executor.next_task),
                scheduler=ReportScheduler(executor.reported),
                reuse_actors=resources.backend == "local",
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=scratch,
                callbacks=[TrialCallback(executor.started, executor.ended, executor.failed, executor.step, errors, hide)],
                verbose=0,
            ),
        ).fit()

    return fit


def _watched(context: Any, folder: Path) -> Lifeline:
    def last_words(why: str) -> None:
        print(f"\nerror: {why}; everything so far is on record. Continue with:\n  {resume_command()}", file=sys.stderr)
        end_left(folder)  # nothing after this tidies up; the folder is the next driver's to remove

    return Lifeline(places(context), last_words)


def _shut_down(lost: ClusterLost | None) -> None:
    ray = sys.modules.get("ray")
    if ray is None or not hasattr(ray, "shutdown"):  # interrupted before it was there
        return
    if lost is None:
        ray.shutdown(wait_for_processes=True)
    else:
        lost.stuck = not within(SHUTDOWN_SECONDS, ray.shutdown)


def _groups(r: Resources) -> WorkerGroups:
    import ray
    from ray.util import placement_group_table
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    from trainer.ray_worker import worker_resources

    def remove(group: str) -> None:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    job = ray.get_runtime_context().get_job_id()
    return WorkerGroups(worker_resources(r.cpus, r.gpus), r.workers, placement_group_table, remove, job)


def _fits(r: Resources, nodes: list[dict[str, float]]) -> None:
    if not trials_at_once(nodes, r.cpus, r.gpus, r.workers):
        has = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise UsageError(
            f"one trial needs {r.workers} x ({r.cpus} CPU{f' and {r.gpus:g} GPU' if r.gpus else ''}), each on one node; the cluster's nodes "
            f"have {has}: nothing could start"
        )
