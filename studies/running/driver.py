"""Runs a plan through its executor, and leaves it resumable whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console

from studies.command.console import StudyConsole
from studies.command.interrupt import Interrupt
from studies.command.progress import Shown
from studies.command.resolved import more_seeds
from studies.command.resume_command import resume_command
from studies.engine import warm_start
from studies.engine.commits import other_processor
from studies.engine.decisions import Decisions
from studies.engine.folder import agree, only_driver
from studies.engine.job import Job, Seen
from studies.engine.moments import stamp
from studies.engine.plan import Plan
from studies.executors.connection import CLUSTER_SECRETS
from studies.executors.environment import for_mirror, needed, only_needed, secret_values
from studies.executors.face import Executor
from studies.executors.lifeline import ClusterLost
from studies.executors.private_folder import TUNE, private_folder, write_private
from studies.running.cards import cards
from studies.running.conductor import Conductor
from studies.running.packing import Packing
from studies.running.processors import processors_here
from studies.running.watchdog import Watchdog
from trainer.errors import UsageError
from trainer.record.identity import provenance, run_id, unknown_commit
from trainer.record.registration import registration
from trainer.record.run_lines import read_run
from trainer.record.writer import NAME, reports_on_record
from trainer.redaction import marks, redact

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna
    from studies.executors.process import ProcessExecutor


def run_study(
    plan: Plan, search: Any, console: Console, *, address: str | None, dashboard: bool, shown: Shown | None = None
) -> tuple[bool, Jobs]:
    """Run or continue a study.

    Args:
        search: the study's declaration, None if nothing is searched.
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
    with only_driver(plan.folder), ExitStack() as stack:
        agree(plan, lambda: _verify(plan, search))
        decisions = stack.enter_context(closing(Decisions(plan.folder)))
        processes = stack.enter_context(_processes(plan, decisions)) if plan.resources.executor == "process" else None
        if isinstance(console, StudyConsole):
            console.keep(plan.folder)
        if decisions.repaired:
            console.print(f"repaired: a torn last line of {decisions.path} was cut off")
        if note := unknown_commit():
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
        r = plan.resources
        machine = {
            "cores": processors_here(),
            "concurrent": r.concurrent,
            "workers": r.workers,
            "gpus": r.gpus,
            "cpus": r.cpus,
        }
        decisions.append(
            "begin",
            at=stamp(),
            **machine,
            usd_per_hour=plan.limits.usd_per_hour,
            commit=provenance()["commit"],
            command=redact(resume_command(), values=secret_values(os.environ)),
            registration=registration(plan.stored()),
        )
        if plan.search.warm_start:
            console.print(
                f"warm start: {warm_start.absorb(plan, decisions)} trials of earlier studies are known to the sampler"
            )
        from studies.engine.jobs import Jobs  # Optuna: a second in which plain processes import torch

        jobs = Jobs(plan, decisions, search, _history(plan))
        for line in jobs.lost:
            console.print(f"not whole on record any more, run again: {line}", highlight=False, soft_wrap=True)
        finished = not more_seeds(jobs) and jobs.complete
        # a cluster's nodes are not known yet: its report says what they were
        if not finished and address is None and (note := other_processor(plan.folder, cards(plan))):
            console.print(f"note: {note}", highlight=False, soft_wrap=True)

        def end() -> None:
            seconds = round(decisions.session_seconds, 3)
            decisions.append(
                "session", seconds=seconds, cores=processors_here(), finished=finished, budget=jobs.budget_reached
            )

        try:
            finished = finished or _execute(plan, jobs, console, address, dashboard, shown, processes)
        except (UsageError, ClusterLost):
            with suppress(OSError):  # a full disk is what the error says already
                end()
            raise
        end()
        jobs.comparison.write()
        if jobs.search is not None:
            source = f"{jobs.search.model_based} of {len(jobs.search.trials)} suggestions were model-based"
            console.print(f"search: {source}, the others came from a grid or a sequence, or at random")
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
            completed = any(
                (line.get("gate") or {}).get("gate") == plan.gate for line in read_run(path, run_id(config))
            )
        return [Seen.of(report) for report in reports], completed

    return history


@contextmanager
def _processes(plan: Plan, decisions: Decisions) -> Iterator[ProcessExecutor]:
    """Plain processes, the first of which start at once unless the study looks complete."""
    from studies.executors import process

    values = secret_values(os.environ)
    with process.opened(plan.resources, needed(os.environ), lambda text: redact(text, values=values)) as executor:
        if not (decisions.last("session") or {}).get("finished"):
            executor.warm_up(plan.num_trials + plan.comparison_runs)
        yield executor


def _verify(plan: Plan, search: Any) -> None:
    from studies.engine.search import verify

    verify(plan, Decisions(plan.folder, write=False), search)


def _execute(
    plan: Plan,
    jobs: Jobs,
    console: Console,
    address: str | None,
    dashboard: bool,
    shown: Shown,
    processes: ProcessExecutor | None,
) -> bool:
    """Returns whether the study is complete; False if it was interrupted or its budget is spent."""
    shown.follow(jobs)
    values = secret_values(os.environ)
    for_trials, for_wandb = marks(values), for_mirror(os.environ)
    keep = frozenset() if address is None else CLUSTER_SECRETS
    with private_folder() as folder, only_needed(keep=keep), Interrupt() as interrupt:
        mirror_environment = folder / "mirror"
        if address is None and plan.wandb == "online":  # a cluster's nodes have their own key
            write_private(mirror_environment, json.dumps(for_wandb))
        for_all = {
            "scratch": str(folder / TUNE),
            "secrets": for_trials,
            "mirror_environment": str(mirror_environment) if mirror_environment.exists() else None,
        }
        packing, watchdog = Packing(plan.resources.gpus), Watchdog(plan.limits.hang_minutes * 60)
        opened: AbstractContextManager[Executor]
        if processes:
            opened = nullcontext(processes)
        else:
            from studies.executors import ray_tune

            opened = ray_tune.opened(
                plan.study,
                plan.resources,
                folder,
                first=min(plan.resources.concurrent, plan.num_trials or plan.comparison_runs),
                address=address,
                dashboard=dashboard,
                interrupt=interrupt,
                hide=lambda text: redact(text, values=values),
                doing=shown.doing,
                note=lambda line: console.print(line, soft_wrap=True),
                capacity=lambda fit: jobs.decisions.append("capacity", concurrent=fit),
            )
        try:
            with opened as executor, _mirrored(plan, jobs) as mirror:

                def show(what: str, name: str, result: dict[str, Any]) -> None:
                    shown(what, name, result)
                    mirror(what, name, result)

                shown.doing("starting the first trials")
                parts = {"packing": packing, "watchdog": watchdog, "interrupt": interrupt}
                parts["more"] = lambda: more_seeds(jobs)
                Conductor(jobs, executor, lambda job: _task(plan, job, packing.share, for_all), show, **parts).run()
        except KeyboardInterrupt:
            return False
        except OSError as error:
            what = f"{error.filename or plan.folder}: {error.strerror}"
            raise UsageError(
                f"{what}; what is on record stands, and the same command with --resume continues"
            ) from None
    return jobs.complete


def _task(plan: Plan, job: Job, share: float, for_all: dict[str, Any]) -> dict[str, Any]:
    """A job as the plain dict a trial process receives; see :func:`trainer.workers.task.run_task`."""
    compared = job.trial is None
    config = plan.config(job.overrides, job.seed)
    if not plan.resources.gpus and config.runtime.device == "auto":
        # processes that Ray gave no GPU must not crowd onto the first one
        config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"device": "cpu"})})
    return {
        "name": job.name,
        "label": job.label,
        "role": job.role,
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


@contextmanager
def _mirrored(plan: Plan, jobs: Jobs) -> Iterator[Callable[[str, str, dict[str, Any]], None]]:
    """What to call with every event, so that optuna-dashboard sees it."""
    if jobs.search is None:
        yield lambda what, name, result: None
        return
    from studies.running.mirror import Mirror

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
