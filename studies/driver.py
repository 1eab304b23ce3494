"""Runs a plan through Ray Tune, and leaves it resumable whatever happens."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from studies import warm_start
from studies.capacity import Capacity, trials_at_once
from studies.console import StudyConsole
from studies.decisions import Decisions
from studies.folder import agree, only_driver
from studies.interrupt import Interrupt
from studies.job import Job, Seen
from studies.jobs import Jobs
from studies.mirror import Mirror
from studies.moments import stamp
from studies.packing import Packing
from studies.plan import Plan
from studies.progress import Shown
from studies.processors import processors_here
from studies.watchdog import Watchdog
from studies.worker_groups import WorkerGroups
from trainer.errors import UsageError
from trainer.identity import provenance, run_id
from trainer.records import read
from trainer.run_record import NAME, reports_on_record

MOST_TRIALS = 4096


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
        OSError: the disk is full; everything up to the last complete line stands.
    """
    shown = shown or Shown(console)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with only_driver(plan.folder):
        agree(plan)
        decisions = Decisions(plan.folder)
        if isinstance(console, StudyConsole):
            console.keep(plan.folder)
        if decisions.repaired:
            console.print(f"repaired: a torn last line of {decisions.path} was cut off")
        r = plan.resources
        machine = {"cores": processors_here(), "concurrent": r.concurrent, "workers": r.workers, "gpus": r.gpus, "cpus": r.cpus}
        decisions.append("begin", at=stamp(), **machine, usd_per_hour=plan.limits.usd_per_hour, commit=provenance()["commit"])
        if plan.search.warm_start:
            console.print(f"warm start: {warm_start.absorb(plan, decisions)} trials of earlier studies are known to the sampler")
        jobs = Jobs(plan, decisions, search, _history(plan))
        finished = jobs.left == 0

        def end() -> None:
            seconds = round(decisions.session_seconds, 3)
            decisions.append("session", seconds=seconds, cores=processors_here(), finished=finished, budget=jobs.budget_reached)

        try:
            finished = finished or _tune(plan, jobs, console, address, dashboard, shown)
        except UsageError:
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
            completed = any((line.get("gate") or {}).get("gate") == plan.gate for line in read(path))
        return [Seen.of(report) for report in reports], completed

    return history


def _tune(plan: Plan, jobs: Jobs, console: Console, address: str | None, dashboard: bool, shown: Shown) -> bool:
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records replace Tune's files
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler ends with exit code 0
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # otherwise one report per 2 s
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    shown.follow(jobs)
    shown.doing("starting Ray on this machine" if address is None else f"joining the Ray cluster at {address}")
    import ray
    from ray import tune

    from studies.ray_errors import own_error
    from studies.tune_adapters import JobCallback, JobScheduler, JobSearcher
    from trainer.ray_worker import DRIVER_CPUS, trial

    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are shown and kept by us
    # Ray's files are disposable; the study's folder must be seen by all nodes, this one need not
    scratch = Path(tempfile.mkdtemp(prefix="tune-"))
    interrupted = False
    try:
        context = _connect(address, dashboard)
        _fits(plan, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        if dashboard:
            console.print(f"dashboard: http://{context.dashboard_url} (shows Ray's actors and nodes, not trials)")
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

        with Interrupt() as interrupt, _mirrored(plan, jobs) as mirror:

            def show(what: str, name: str, result: dict[str, Any]) -> None:
                shown(what, name, result)
                mirror(what, name, result)

            callback = JobCallback(jobs, show, watchdog, groups, interrupt, lambda: mirror("ended", "", {}))
            tune.Tuner(
                tune.with_resources(trial, per_trial),
                tune_config=tune.TuneConfig(
                    num_samples=-1,  # the searcher says when it is finished
                    max_concurrent_trials=MOST_TRIALS,  # with a limit Tune asks early for so many; may_start holds it back
                    search_alg=JobSearcher(jobs, lambda job: _task(plan, job, packing.share, scratch), may_start, callback.look_around),
                    scheduler=JobScheduler(jobs, packing),
                    reuse_actors=resources.backend == "local",
                ),
                run_config=tune.RunConfig(
                    name=plan.study,
                    storage_path=str(scratch),
                    callbacks=[callback],
                    verbose=0,
                ),
            ).fit()
    except KeyboardInterrupt:
        interrupted = True
    except tune.TuneError as error:
        own = own_error(error)
        if isinstance(own, OSError):
            what = f"{own.filename or plan.folder}: {own.strerror}"
            raise UsageError(f"{what}; what is on record stands, and the same command with --resume continues") from None
        raise own or error from None
    finally:
        shown.doing("stopping Ray")
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    return not interrupted and jobs.left == 0


def _connect(address: str | None, dashboard: bool) -> Any:
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        own = {"num_cpus": processors_here(), "object_store_memory": 256 * 2**20}
        # "local": without it Ray would join any cluster it finds, and refuse the processors it is told to use
        try:
            return ray.init(address="local", include_dashboard=dashboard, dashboard_host="127.0.0.1", **own, **quiet)
        except Exception as error:  # Ray has no type for a node that did not come up in its 30 seconds
            reason = " ".join(str(error).split()).partition(". ")[0][:200]
            raise UsageError(f"Ray did not start here ({reason}); the machine may be too busy: the same command with --resume tries again") from None
    try:
        place = address.removeprefix("ray://").rpartition(":")
        if place[2].isdigit():  # Ray itself would try for minutes
            socket.create_connection((place[0], int(place[2])), timeout=10).close()
        return ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise UsageError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one with: ray start --head; "
            f"python -m studies doctor --address {address} says more"
        ) from None


def _task(plan: Plan, job: Job, share: float, scratch: Path) -> dict[str, Any]:
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
        "scratch": str(scratch),
    }


def _groups(plan: Plan) -> WorkerGroups:
    import ray
    from ray._raylet import PlacementGroupID
    from ray.util import placement_group_table
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    from trainer.ray_worker import worker_resources

    r = plan.resources

    def remove(group: str) -> None:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))

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
