"""Runs a plan through Ray Tune, and leaves it resumable whatever happens."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.decisions import Decisions
from studies.jobs import Job, Jobs
from studies.plan import Plan
from studies.sampling import Sampling
from trainer.errors import RecordError, UsageError
from trainer.identity import provenance
from trainer.records import read, write_json

COMPARED_SETTINGS = ("base_arm", "preset", "overrides", "seeds", "epochs", "search_seed", "grace", "eta", "confirm", "arms", "gate")


def run_study(plan: Plan, search: Any, console: Console, *, address: str | None, dashboard: bool) -> tuple[bool, int]:
    """Run or continue a study.

    Args:
        search: a module of ``search_spaces``, or None.
        address: of a running Ray cluster, or None to start Ray here.

    Returns:
        Whether every planned run ended (False: interrupted, with everything computed so far on record), and how
        many of them failed.

    Raises:
        UsageError: the folder holds another study, another driver runs it, or the cluster is too small.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _only_driver(plan.folder):
        _agree(plan)
        decisions = Decisions(plan.folder)
        if decisions.repaired:
            console.print(f"repaired: a torn last line of {decisions.path} was cut off")
        jobs = _jobs(plan, search, decisions)
        started, finished = time.monotonic(), jobs.left == 0
        if not finished:
            finished = _tune(plan, jobs, console, address, dashboard)
            decisions.append("session", seconds=round(time.monotonic() - started, 3), cores=os.cpu_count(), finished=finished)
        jobs.write_comparison()
        if search is not None and plan.num_trials:
            source = f"{jobs.model_based} of {len(jobs.searched)} suggestions were model-based"
            console.print(f"search: {source}, the others came from the starting grid or at random")
        last = {line["name"]: line["state"] for line in decisions.of("finish")}
        return finished, sum(state == "failed" for state in last.values())


def _jobs(plan: Plan, search: Any, decisions: Decisions) -> Jobs:
    if search is None:
        return Jobs(plan, decisions)
    steps = plan.config({}, plan.seeds[0]).horizon_steps
    sampling = Sampling(search.space, search.first_points(), plan.search_seed, search.stratum)
    return Jobs(plan, decisions, sampling, search.overrides, lambda point: search.describe(point, steps))


def _tune(plan: Plan, jobs: Jobs, console: Console, address: str | None, dashboard: bool) -> bool:
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records replace Tune's files
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler ends with exit code 0
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # otherwise one report per 2 s
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    import ray
    from ray import tune

    from studies.progress import Shown
    from studies.tune_adapters import JobCallback, JobScheduler, JobSearcher
    from trainer.ray_worker import DRIVER_CPUS, trial

    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are shown and kept by us
    # Ray's files are disposable; the study's folder must be seen by all nodes, this one need not
    scratch = Path(tempfile.mkdtemp(prefix="tune-"))
    interrupted = False
    try:
        context = _connect(address, dashboard)
        _fits(plan, ray.cluster_resources())
        if dashboard:
            console.print(f"dashboard: http://{context.dashboard_url} (shows Ray's actors and nodes, not trials)")
        resources = plan.resources
        per_trial: Any = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
        if resources.backend == "ray-train":
            per_trial = {"CPU": DRIVER_CPUS}  # the trial itself only waits for its workers
        with Shown(jobs, console, plan.expected_epochs()) as shown, _sigterm_as_interrupt():
            tune.Tuner(
                tune.with_resources(trial, per_trial),
                tune_config=tune.TuneConfig(
                    num_samples=jobs.left,
                    max_concurrent_trials=resources.concurrent,
                    search_alg=JobSearcher(jobs, lambda job: _task(plan, jobs, job, scratch)),
                    scheduler=JobScheduler(jobs),
                    reuse_actors=resources.backend == "local",
                ),
                run_config=tune.RunConfig(
                    name=plan.study,
                    storage_path=str(scratch),
                    callbacks=[JobCallback(jobs, shown, plan.epochs)],
                    verbose=0,
                ),
            ).fit()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    return not interrupted and jobs.left == 0


def _connect(address: str | None, dashboard: bool) -> Any:
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        own = {"num_cpus": os.cpu_count(), "object_store_memory": 256 * 2**20}
        # "local": without it Ray would join any cluster it finds, and refuse the processors it is told to use
        return ray.init(address="local", include_dashboard=dashboard, dashboard_host="127.0.0.1", **own, **quiet)
    try:
        place = address.removeprefix("ray://").rpartition(":")
        if place[2].isdigit():  # Ray itself would try for minutes
            socket.create_connection((place[0], int(place[2])), timeout=10).close()
        return ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise UsageError(f"--address {address}: no Ray cluster answers there ({reason}); start one with: ray start --head") from None


def _task(plan: Plan, jobs: Jobs, job: Job, scratch: Path) -> dict[str, Any]:
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
        "backend": plan.resources.backend,
        "workers": plan.resources.workers,
        "cpus": plan.resources.cpus,
        "gpus": plan.resources.gpus,
        "scratch": str(scratch),
    }


def _agree(plan: Plan) -> None:
    """Write study.json, or check that the one on disk describes the same study (more trials are allowed)."""
    path, now = plan.folder / "study.json", plan.stored()
    if plan.begun:
        _same_commit(plan)
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            before["num_trials"], before["created"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged ({error}); restore it from a copy, or choose another --study name") from None
        now_plain = json.loads(json.dumps(now))
        for key in COMPARED_SETTINGS:
            if before.get(key) != now_plain[key]:
                raise UsageError(
                    f"{path}: this study has {key} = {before.get(key)!r}, not {now_plain[key]!r}; "
                    "continue it with its own settings, or choose another --study name"
                )
        if plan.num_trials < before["num_trials"]:
            raise UsageError(f"--num-trials {plan.num_trials}: this study already has {before['num_trials']}; it can only grow")
        now["created"] = before["created"]
    else:
        now["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(path, now)


def _same_commit(plan: Plan) -> None:
    """Refuse to mix runs of different code in one table unless asked to."""
    now = provenance()["commit"]
    if now is None or plan.across_commits:
        return
    for path in sorted((plan.folder / "runs").glob("*/records.jsonl")):
        others = {line["provenance"]["commit"] for line in read(path) if "provenance" in line} - {now, None}
        if others:
            raise RecordError(
                f"{plan.folder} was recorded by commit {sorted(others)[0][:10]}, this code is {now[:10]}: numbers of different "
                "code do not belong in one table; choose another --study name, or give --across-commits if you know that "
                "nothing relevant changed"
            )


def _fits(plan: Plan, cluster: dict[str, float]) -> None:
    r = plan.resources
    for kind, each in (("CPU", r.cpus * r.workers), ("GPU", r.gpus * r.workers)):
        if each > cluster.get(kind, 0):
            raise UsageError(f"one trial needs {each:g} {kind}, the cluster has {cluster.get(kind, 0):g}; nothing could ever start")


@contextmanager
def _only_driver(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another driver is running this study; wait for it or choose another --study name") from None
        yield


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: Callable | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
