"""The only module of ``trainer`` that knows Ray: one run as a Tune trial.

``local``: the run trains in the trial's own process; its report blocks until Tune has decided, so a stopped
run never trains an epoch too many. ``ray-train``: the trial starts a TorchTrainer with one or more workers,
which join one process group (gloo on CPU, nccl on GPU); rank 0 reports.
Resuming needs nothing from Ray in either: the run continues from its own folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainer import presets
from trainer.redaction import redact
from trainer.workers.failure import Told, describe
from trainer.workers.parent import die_with_parent
from trainer.workers.task import run_task

DRIVER_CPUS = 0.01
FAILURE = "failure"


def trial(task: dict[str, Any]) -> None:
    """Run one task inside a Tune trial.

    Args:
        task: of :func:`trainer.workers.task.run_task`, with ``backend``, ``workers``, ``cpus``, ``gpus`` (of one
            worker) and ``scratch`` (a folder).

    Raises:
        Told: after the driver was told what went wrong, as data: nobody has to unpickle an exception.
    """
    import ray
    from ray import tune

    die_with_parent()
    last: dict[str, Any] = {"score": None}
    nodes = [ray.get_runtime_context().get_node_id()]

    def report(metrics: dict[str, Any]) -> None:
        last.update(metrics)
        tune.report({**metrics, "nodes": nodes})

    try:
        if task["backend"] == "local":
            run_task(task, report)
        else:
            _launch(task)
    except Exception as error:
        failure = describe(error, lambda text: redact(text, task["secrets"]))
        tune.report({**last, FAILURE: failure})
        raise Told(failure) from None


def worker_resources(cpus: int, gpus: float) -> dict[str, float]:
    """What Ray is asked for one worker of several.

    The trial that waits for its workers holds DRIVER_CPUS; they ask for that much less, or a machine with exactly
    workers x cpus processors could never place them.
    """
    return {"CPU": cpus - DRIVER_CPUS, **({"GPU": gpus} if gpus else {})}


def _launch(task: dict[str, Any]) -> None:
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # otherwise one report per 2 s
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2._internal.callbacks import datasets, placement_group_callback
    from ray.tune.integration.ray_train import TuneReportCallback

    unneeded = (datasets.DatasetsCallback, placement_group_callback.PlacementGroupCleanerCallback)

    class Trainer(TorchTrainer):
        """Without three processes per trial, two processor seconds each: one waits for notice of a preemption, one
        shares out Ray's datasets, one frees the trial's group, as the driver does."""

        def _create_default_callbacks(self) -> list[Any]:
            return [one for one in super()._create_default_callbacks() if not isinstance(one, unneeded)]

    gpus = task["gpus"]
    Trainer(
        _worker,
        train_loop_config=task,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=task["workers"], use_gpu=bool(gpus), resources_per_worker=worker_resources(task["cpus"], gpus)
        ),
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

    die_with_parent()
    # the driver releases this placement group itself when it stops the trial
    group = ray.util.get_current_placement_group()
    nodes = sorted(set(ray.util.placement_group_table(group)["bundles_to_node_id"].values()))

    def report(metrics: dict[str, Any]) -> None:
        ray.train.report({**metrics, "placement_group": group.id.hex(), "nodes": nodes})

    try:
        if ray.train.get_context().get_world_rank() == 0:
            run_task(task, report)
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
