"""Opens Ray for a study, on this machine or on a cluster, with Tune as its executor."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from studies.command.interrupt import Interrupt
from studies.command.resume_command import resume_command
from studies.engine.settings import Resources
from studies.executors.connection import PATIENCE, connect, own_token, places, start
from studies.executors.lean_start import first_workers
from studies.executors.lifeline import ClusterLost, Lifeline, within
from studies.executors.private_folder import TOKEN, TUNE, end_left
from studies.executors.tune_executor import TuneExecutor
from studies.executors.worker_groups import WorkerGroups
from studies.running.capacity import Capacity, idle_gpus, trials_at_once
from trainer.errors import UsageError

MOST_TRIALS = 4096
SHUTDOWN_SECONDS = 15.0
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records replace Tune's files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler ends with exit code 0
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    **PATIENCE,
}


@contextmanager
def opened(
    name: str,
    resources: Resources,
    folder: Path,
    *,
    first: int,
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
        first: trials that start at once.
        address: of a running Ray cluster, or None to start Ray here.
        doing: says what takes a while.
        note: says a line for the user to keep.
        capacity: called with the number of trials that fit whenever it changes.

    Raises:
        UsageError: Ray does not start or answer, or no trial would ever find a place there.
    """
    lost: ClusterLost | None = None
    os.environ |= SETTINGS
    if address is None:
        single = resources.backend == "local" and resources.cpus == 1
        os.environ |= first_workers(first if single else 0)
    doing("starting Ray on this machine" if address is None else f"joining the Ray cluster at {address}")
    with own_token(folder) if address is None else nullcontext():
        try:
            with interrupt.later("Ray has started"):
                import ray

                # a second, better spent here than at the first trial; not in a thread while Ray's servers start, as
                # Ctrl-C in the midst of an import can leave a lock taken for which that thread waits for ever
                from studies.executors import tune_adapters

                for logger in ("ray", "ray.tune", "ray.train"):
                    logging.getLogger(logger).setLevel(logging.CRITICAL)  # failures are shown and kept by us
                context = start(folder, dashboard) if address is None else connect(address)
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            _fits(resources, nodes)
            if address is not None:
                for line in idle_gpus(resources, int(sum(node.get("GPU", 0) for node in nodes))):
                    note(line)
            if dashboard:
                key = (
                    f"it asks for a token once: cat {folder / TOKEN}"
                    if address is None
                    else "it may ask for the cluster's token"
                )
                note(f"dashboard: http://{context.dashboard_url} ({key}); it shows Ray's actors and nodes, not trials")
            with (
                _watched(context, folder) as lifeline,
                tune_adapters.any_worker(),
                tune_adapters.errors_kept() as errors,
            ):
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


def _fit(
    name: str, resources: Resources, scratch: str, errors: dict[str, BaseException], hide: Callable[[str], str]
) -> Callable[[TuneExecutor], None]:
    from ray import tune

    from studies.executors.tune_adapters import ReportScheduler, TaskSearcher, TrialCallback
    from trainer.workers.ray_worker import DRIVER_CPUS, trial

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
                callbacks=[
                    TrialCallback(executor.started, executor.ended, executor.failed, executor.step, errors, hide)
                ],
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

    from trainer.workers.ray_worker import worker_resources

    def remove(group: str) -> None:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    job = ray.get_runtime_context().get_job_id()
    return WorkerGroups(worker_resources(r.cpus, r.gpus), r.workers, placement_group_table, remove, job)


def _fits(r: Resources, nodes: list[dict[str, float]]) -> None:
    if not trials_at_once(nodes, r.cpus, r.gpus, r.workers):
        has = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise UsageError(
            f"one trial needs {r.workers} x ({r.cpus} CPU{f' and {r.gpus:g} GPU' if r.gpus else ''}), each on one node;"
            f" the cluster's nodes have {has}: nothing could start"
        )
