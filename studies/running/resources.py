"""What each trial gets, as asked for and checked against this machine. No torch, no ray."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from studies.engine.settings import Resources
from studies.running.capacity import trials_at_once
from studies.running.processors import check_sizes, processors_here
from trainer.errors import UsageError


def resources(o: Namespace) -> Resources:
    """Check what was asked against this machine, unless the study runs on a cluster."""
    check_sizes(o)
    _only_with_ray(o)
    backend = o.backend or ("local" if o.workers_per_trial == 1 else "ray-train")
    if backend == "local" and o.workers_per_trial > 1:
        raise UsageError(
            f"--workers-per-trial {o.workers_per_trial} needs --backend ray-train: a local trial is one process"
        )
    if o.max_concurrent is not None and o.max_concurrent < 1:
        raise UsageError(f"--max-concurrent {o.max_concurrent}: must be at least 1")
    cpus, gpus = o.cpus_per_trial * o.workers_per_trial, o.gpus_per_trial * o.workers_per_trial
    if o.address:
        return Resources(o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, o.max_concurrent or 0)
    have_cpus, have_gpus = processors_here(), len(list(Path("/dev").glob("nvidia[0-9]*")))
    if cpus > have_cpus:
        raise UsageError(
            f"one trial would take {o.workers_per_trial} x {o.cpus_per_trial} = {cpus} CPUs, this machine has"
            f" {have_cpus}; lower --cpus-per-trial or --workers-per-trial, or give a cluster's --address"
        )
    if gpus > have_gpus:
        raise UsageError(
            f"one trial would take {gpus:g} GPU{'s' if gpus > 1 else ''}, this machine has {have_gpus}; lower"
            " --gpus-per-trial or give a cluster's --address"
        )
    fit = trials_at_once(
        [{"CPU": have_cpus, "GPU": have_gpus}], o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial
    )
    return Resources(
        o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, min(fit, o.max_concurrent or fit), o.executor
    )


def _only_with_ray(o: Namespace) -> None:
    """Refuse what plain processes on one machine cannot do."""
    asked = {
        f"--address {o.address}": o.address is not None,
        f"--workers-per-trial {o.workers_per_trial}": o.workers_per_trial > 1,
        "--backend ray-train": o.backend == "ray-train",
        "--dashboard": o.dashboard,
    }
    if o.executor == "process" and (option := next((option for option, given in asked.items() if given), None)):
        raise UsageError(
            f"{option}: needs Ray, and --executor process starts plain processes on this machine; remove one of the two"
        )
