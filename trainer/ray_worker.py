"""The only module of ``trainer`` that knows Ray: one run as a Tune trial.

``local``: the run trains in the trial's own process; its report blocks until Tune has decided, so a stopped
run never trains an epoch too many. ``ray-train``: the trial starts a TorchTrainer with one or more workers,
which join one process group (gloo on CPU, nccl on GPU); rank 0 reports.
Resuming needs nothing from Ray in either: the run continues from its own folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer import presets
from trainer.failure import Told, describe
from trainer.redaction import redact

# torch and the loop are imported where they run: the driver hands out this module's functions without them

DRIVER_CPUS = 0.01
# Tune's results stay small; everything is in the run's record
FAILURE = "failure"
REPORTED = ("epoch", "score", "probe_epoch", "diverged", "rank", "r2_action", "repeated", "notice")


def trial(task: dict[str, Any]) -> None:
    """Run one task inside a Tune trial.

    Args:
        task: ``config`` (tree), ``runs`` (folder), ``study``, ``gate``, ``baselines``, ``wandb``, ``tensorboard``, ``label``,
            ``backend``, ``workers``, ``cpus``, ``gpus``, ``share`` (of a GPU's memory it may take, 0: not limited),
            ``name``, ``secrets`` (marks of what must not be repeated) and ``mirror_environment`` (a file, or None).

    Raises:
        Told: after the driver was told what went wrong, as data: nobody has to unpickle an exception.
    """
    import ray
    from ray import tune

    _die_with_ray()
    last: dict[str, Any] = {"score": None}
    nodes = [ray.get_runtime_context().get_node_id()]

    def report(metrics: dict[str, Any]) -> None:
        last.update(_small(metrics))
        tune.report({**_small(metrics), "nodes": nodes})

    try:
        if task["backend"] == "local":
            _run(task, report)
        else:
            _launch(task)
    except Exception as error:
        failure = describe(error, lambda text: redact(text, task["secrets"]))
        tune.report({**last, FAILURE: failure})
        raise Told(failure) from None


def _run(task: dict[str, Any], report: Any) -> None:
    from trainer import memory
    from trainer.data.shared import shared_images
    from trainer.identity import run_id
    from trainer.loop import train
    from trainer.mirrors import Mirrors
    from trainer.runtime import pick_device

    config = presets.build(task["config"])
    device = pick_device(config)
    memory.start_measuring(device)  # this process may have served another trial
    if task["share"]:
        memory.limit_share(device, task["share"])
    run = Path(task["runs"]) / run_id(config)
    with _mirror_environment(task["mirror_environment"]):
        mirrors = Mirrors(config, task["study"], task["label"], run, task["wandb"], task["tensorboard"])

    def tell(metrics: dict[str, Any]) -> None:
        mirrors.follow()
        # of an epoch trained by another process there is no peak to measure
        report({**metrics, "memory": None if metrics.get("repeated") else memory.measured(device), "notice": mirrors.trouble})

    try:
        images = shared_images(config)
        # the process of a killed driver may still be ending when the next one begins: wait for it
        train(config, Path(task["runs"]), task["study"], report=tell, gate=task["gate"], baselines=task["baselines"], images=images, wait=True)
    finally:
        mirrors.close()


def worker_resources(cpus: int, gpus: float) -> dict[str, float]:
    """What Ray is asked for one worker of several.

    The trial that waits for its workers holds DRIVER_CPUS; they ask for that much less, or a machine with exactly
    workers x cpus processors could never place them.
    """
    return {"CPU": cpus - DRIVER_CPUS, **({"GPU": gpus} if gpus else {})}


def _launch(task: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    gpus = task["gpus"]
    TorchTrainer(
        _worker,
        train_loop_config=task,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=task["workers"], use_gpu=bool(gpus), resources_per_worker=worker_resources(task["cpus"], gpus)),
        run_config=ray.train.RunConfig(
            name=task["name"],
            storage_path=task["scratch"],
            callbacks=[TuneReportCallback()],
            # without a limit a group that cannot be placed is retried for ever
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=3),
        ),
    ).fit()


def _worker(task: dict[str, Any]) -> None:
    import ray.train
    import ray.util

    _die_with_ray()
    # the driver releases this placement group itself when it stops the trial
    group = ray.util.get_current_placement_group()
    nodes = sorted(set(ray.util.placement_group_table(group)["bundles_to_node_id"].values()))

    def report(metrics: dict[str, Any]) -> None:
        ray.train.report({**_small(metrics), "placement_group": group.id.hex(), "nodes": nodes})

    try:
        if ray.train.get_context().get_world_rank() == 0:
            _run(task, report)
        else:
            _follow(task)
    except Exception as error:  # Ray logs what a worker raises
        raise Told(describe(error, lambda text: redact(text, task["secrets"]))) from None


def _follow(task: dict[str, Any]) -> None:
    """A worker other than rank 0: the same loop; every rank must report as often as rank 0 does."""
    import ray.train

    from trainer.data.shared import shared_images
    from trainer.loop import train

    config = presets.build(task["config"])
    train(
        config,
        Path(task["runs"]),
        task["study"],
        report=lambda _: ray.train.report({}),
        gate=task["gate"],
        baselines=task["baselines"],
        images=shared_images(config),
    )


@contextmanager
def _mirror_environment(path: str | None) -> Iterator[None]:
    """The key of W&B and a proxy's password, for as long as the mirror is opened: its own process inherits them, no other does.

    Args:
        path: a file that only this user can read; None if the machine itself has what is needed.
    """
    given = json.loads(Path(path).read_text()) if path else {}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _die_with_ray() -> None:
    """Let the system kill this process when the node's raylet, which started it, dies.

    Ray's own workers look whether their parent became process 1. Under a service manager or in some containers orphans go
    to another process, and a killed driver's trials went on for a minute.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)


def _small(report: dict[str, Any]) -> dict[str, Any]:
    known = {name: report[name] for name in REPORTED if name in report}
    memory = {"memory": report["memory"]} if report.get("memory") else {}
    return known | memory | {"pid": os.getpid()}
