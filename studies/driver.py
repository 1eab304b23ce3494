"""Runs a plan through Ray Tune, and leaves it resumable whatever happens."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.capacity import Capacity, trials_at_once
from studies.connection import (
    CLUSTER_SECRETS,
    PATIENCE,
    connect,
    own_token,
    places,
    start,
)
from studies.console import StudyConsole
from studies.engine import warm_start
from studies.engine.decisions import Decisions
from studies.engine.folder import agree, only_driver
from studies.engine.job import Job, Seen
from studies.engine.jobs import Jobs
from studies.engine.moments import stamp
from studies.engine.plan import Plan
from studies.engine.search import verify
from studies.environment import for_mirror, only_needed, secret_values
from studies.interrupt import Interrupt
from studies.lifeline import ClusterLost, Lifeline, within
from studies.mirror import Mirror
from studies.packing import Packing
from studies.private_folder import TOKEN, TUNE, end_left, private_folder, write_private
from studies.processors import processors_here
from studies.progress import Shown
from studies.resume_command import resume_command
from studies.watchdog import Watchdog
from studies.worker_groups import WorkerGroups
from trainer.errors import UsageError
from trainer.identity import provenance, run_id, unknown_commit
from trainer.record_lines import read_run
from trainer.redaction import marks, redact
from trainer.registration import registration
from trainer.run_record import NAME, reports_on_record

MOST_TRIALS = 4096
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


def run_study(plan: Plan, search: Any, console: Console, *, address: str | None, dashboard: bool, shown: Shown | None = None) -> tuple[bool, Jobs]:
    """Run or continue a study.

    Args:
        search: a module of ``search_spaces``, or None.
        address: of a running Ray cluster, or None to start Ray here.
        shown: says on the console what is going on; it has been entered.

    Returns:
        Whether every planned run ended (False: interrupted or out of budget, with everything computed so far on
        record), and the jobs.

    Raises:
        UsageError: the folder holds another study, another driver runs it, the cluster is too small, or a trial does
            not fit its share of a GPU.
        ClusterLost: Ray or its cluster went away.
        OSError: the disk is full; everything up to the last complete line stands.
    """
    shown = shown or Shown(console)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with only_driver(plan.folder):
        agree(plan, lambda: verify(plan, Decisions(plan.folder, write=False), search))
        decisions = Decisions(plan.folder)
        if isinstance(console, StudyConsole):
            console.keep(plan.folder)
        if decisions.repaired:
            console.print(f"repaired: a torn last line of {decisions.path} was cut off")
        if note := unknown_commit():
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
        r = plan.resources
        machine = {"cores": processors_here(), "concurrent": r.concurrent, "workers": r.workers, "gpus": r.gpus, "cpus": r.cpus}
        decisions.append("begin", at=stamp(), **machine, usd_per_hour=plan.limits.usd_per_hour, commit=provenance()["commit"], registration=registration(plan.stored()))
        if plan.search.warm_start:
            console.print(f"warm start: {warm_start.absorb(plan, decisions)} trials of earlier studies are known to the sampler")
        jobs = Jobs(plan, decisions, search, _history(plan))
        for line in jobs.lost:
            console.print(f"not whole on record any more, run again: {line}", highlight=False, soft_wrap=True)
        finished = jobs.left == 0

        def end() -> None:
            seconds = round(decisions.session_seconds, 3)
            decisions.append("session", seconds=seconds, cores=processors_here(), finished=finished, budget=jobs.budget_reached)

        try:
            finished = finished or _tune(plan, jobs, console, address, dashboard, shown)
        except (UsageError, ClusterLost):
            with suppress(OSError):  # a full disk is what the error says already
                end()
            raise
        end()
        jobs.comparison.write()
        if jobs.search is not None:
            source = f"{jobs.search.model_based} of {len(jobs.search.trials)} suggestions were model-based"
            console.print(f"search: {source}, the others came from a grid or a sequence, or at random")
        decisions.close()
        return finished, jobs


def _history(plan: Plan) -> Callable[[Job], tuple[list[Seen], bool]]:
    """What a job has on record: in this study, or in one it starts from."""

    def history(job: Job) -> tuple[list[Seen], bool]:
        config = plan.config(job.overrides, job.seed)
        warm_start.fetch(plan, run_id(config))
        path = plan.folder / "runs" / run_id(config) / NAME
        reports, completed = reports_on_record(path, config)
        if completed and plan.gate and job.trial is None:
            # recorded without the gate that is to be judged: the trainer judges it, and trains nothing
            completed = any((line.get("gate") or {}).get("gate") == plan.gate for line in read_run(path, run_id(config)))
        return [Seen.of(report) for report in reports], completed

    return history


def _tune(plan: Plan, jobs: Jobs, console: Console, address: str | None, dashboard: bool, shown: Shown) -> bool:
    shown.follow(jobs)
    values = secret_values(os.environ)
    for_trials, for_wandb = marks(values), for_mirror(os.environ)
    token = own_token if address is None else nullcontext
    keep = frozenset() if address is None else CLUSTER_SECRETS
    with private_folder() as folder, only_needed(keep=keep), token(folder), Interrupt() as interrupt:
        os.environ |= SETTINGS
        mirror_environment = folder / "mirror"
        if address is None and plan.wandb == "online":  # a cluster's nodes have their own key
            write_private(mirror_environment, json.dumps(for_wandb))
        for_all = {
            "scratch": str(folder / TUNE),
            "secrets": for_trials,
            "mirror_environment": str(mirror_environment) if mirror_environment.exists() else None,
        }
        return _with_ray(plan, jobs, console, interrupt, folder, address, dashboard, for_all, lambda text: redact(text, values=values), shown)



def _with_ray(
    plan: Plan,
    jobs: Jobs,
    console: Console,
    interrupt: Interrupt,
    folder: Path,
    address: str | None,
    dashboard: bool,
    for_all: dict[str, Any],
    hide: Callable[[str], str],
    shown: Shown,
) -> bool:
    """Returns whether the study is complete; False if it was interrupted or its budget is spent."""
    lost: ClusterLost | None = None
    shown.doing("starting Ray on this machine" if address is None else f"joining the Ray cluster at {address}")
    try:
        with interrupt.later("Ray has started"):
            import ray
            from ray import tune

            from studies.ray_errors import own_error
            from studies.tune_adapters import (
                JobCallback,
                JobScheduler,
                JobSearcher,
                errors_kept,
            )
            from trainer.ray_worker import DRIVER_CPUS, trial

            for name in ("ray", "ray.tune", "ray.train"):
                logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are shown and kept by us
            context = start(folder, dashboard) if address is None else connect(address)
        _fits(plan, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        if dashboard:
            key = f"it asks for a token once: cat {folder / TOKEN}" if address is None else "it may ask for the cluster's token"
            console.print(f"dashboard: http://{context.dashboard_url} ({key}); it shows Ray's actors and nodes, not trials", soft_wrap=True)
        shown.doing("Ray is ready; starting the first trials")
        resources = plan.resources
        per_trial: Any = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
        if resources.backend == "ray-train":
            per_trial = {"CPU": DRIVER_CPUS}  # the trial itself only waits for its workers
        packing, watchdog = Packing(resources.gpus), Watchdog(plan.limits.hang_minutes * 60)
        capacity = Capacity(resources, ray.nodes, lambda fit: jobs.decisions.append("capacity", concurrent=fit))
        groups = _groups(plan) if resources.backend == "ray-train" else None

        def may_start(running: int) -> bool:
            return packing.may_start(running) and capacity.may_start(running) and (groups is None or groups.settled())

        def last_words(why: str) -> None:
            print(f"\nerror: {why}; everything so far is on record. Continue with:\n  {resume_command()}", file=sys.stderr)
            end_left(folder)  # nothing after this tidies up; the folder is the next driver's to remove

        with Lifeline(places(context), last_words) as lifeline, errors_kept() as errors, _mirrored(plan, jobs) as mirror:

            def show(what: str, name: str, result: dict[str, Any]) -> None:
                shown(what, name, result)
                mirror(what, name, result)

            callback = JobCallback(jobs, show, watchdog, groups, interrupt, lambda: mirror("ended", "", {}), lifeline, errors, hide)
            tune.Tuner(
                tune.with_resources(trial, per_trial),
                tune_config=tune.TuneConfig(
                    num_samples=-1,  # the searcher says when it is finished
                    max_concurrent_trials=MOST_TRIALS,  # with a limit Tune asks early for so many; may_start holds it back
                    search_alg=JobSearcher(jobs, lambda job: _task(plan, job, packing.share, for_all), may_start, callback.look_around),
                    scheduler=JobScheduler(jobs, packing),
                    reuse_actors=resources.backend == "local",
                ),
                run_config=tune.RunConfig(
                    name=plan.study,
                    storage_path=for_all["scratch"],
                    callbacks=[callback],
                    verbose=0,
                ),
            ).fit()
    except KeyboardInterrupt:
        return False
    except ClusterLost as error:
        lost = error
        raise
    except tune.TuneError as error:
        own = own_error(error)
        if isinstance(own, ClusterLost):
            lost = own
        elif isinstance(own, OSError):
            what = f"{own.filename or plan.folder}: {own.strerror}"
            raise UsageError(f"{what}; what is on record stands, and the same command with --resume continues") from None
        raise own or error from None
    finally:
        shown.doing("stopping Ray")
        _shut_down(lost)
        if lost is not None:
            end_left(folder)
    return jobs.left == 0


def _shut_down(lost: ClusterLost | None) -> None:
    ray = sys.modules.get("ray")
    if ray is None or not hasattr(ray, "shutdown"):  # interrupted before it was there
        return
    if lost is None:
        ray.shutdown(wait_for_processes=True)
    else:
        lost.stuck = not within(SHUTDOWN_SECONDS, ray.shutdown)


def _task(plan: Plan, job: Job, share: float, for_all: dict[str, Any]) -> dict[str, Any]:
    """A job as the plain dict a trial process receives; see :func:`trainer.ray_worker.trial`."""
    compared = job.trial is None
    config = plan.config(job.overrides, job.seed)
    if not plan.resources.gpus and config.runtime.device == "auto":
        # processes that Ray gave no GPU must not crowd onto the first one
        config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"device": "cpu"})})
    return {
        "name": job.name,
        "label": job.label,
        "config": config.model_dump(mode="json"),
        "runs": str(plan.folder / "runs"),
        "study": plan.study,
        "gate": plan.gate if compared else None,
        "baselines": job.baselines,
        "wandb": plan.wandb,
        "tensorboard": plan.tensorboard,
        "backend": plan.resources.backend,
        "workers": plan.resources.workers,
        "cpus": plan.resources.cpus,
        "gpus": plan.resources.gpus,
        "share": share,
        **for_all,
    }


def _groups(plan: Plan) -> WorkerGroups:
    import ray
    from ray.util import placement_group_table
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    from trainer.ray_worker import worker_resources

    r = plan.resources

    def remove(group: str) -> None:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    job = ray.get_runtime_context().get_job_id()
    return WorkerGroups(worker_resources(r.cpus, r.gpus), r.workers, placement_group_table, remove, job)


def _fits(plan: Plan, nodes: list[dict[str, float]]) -> None:
    r = plan.resources
    if not trials_at_once(nodes, r.cpus, r.gpus, r.workers):
        has = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise UsageError(
            f"one trial needs {r.workers} x ({r.cpus} CPU{f' and {r.gpus:g} GPU' if r.gpus else ''}), each on one node; the cluster's nodes "
            f"have {has}: nothing could start"
        )


@contextmanager
def _mirrored(plan: Plan, jobs: Jobs) -> Iterator[Callable[[str, str, dict[str, Any]], None]]:
    """What to call with every event, so that optuna-dashboard sees it."""
    if jobs.search is None:
        yield lambda what, name, result: None
        return
    mirror = Mirror(plan, jobs.search.sampling)

    def take(what: str, name: str, result: dict[str, Any]) -> None:
        if what != "epoch":
            mirror.follow(jobs.decisions)
            return
        job = jobs.running.get(name)
        measured = result.get("score") is not None and result.get("probe_epoch") == result.get("epoch")
        if job is not None and job.trial is not None and measured:
            mirror.probed(job.trial, int(result["epoch"]), float(result["score"]))

    try:
        mirror.follow(jobs.decisions)
        yield take
    finally:
        mirror.close()
