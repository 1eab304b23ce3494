"""One run as a study's trial: from a plain dict, with its mirrors, and reports that stay small. Knows no executor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer import presets

# torch and the loop are imported where they run: a driver hands out this module's functions without them

# reports stay small; everything is in the run's record
REPORTED = ("epoch", "score", "probe_epoch", "diverged", "rank", "r2_action", "repeated", "notice")


def run_task(task: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Train one run in this process.

    Args:
        task: ``name``, ``config`` (tree), ``runs`` (folder), ``study``, ``gate``, ``baselines``, ``wandb``,
            ``tensorboard``, ``label``, ``share`` (of a GPU's memory it may take, 0: not limited), ``secrets`` (marks of
            what must not be repeated) and ``mirror_environment`` (a file, or None). What else is in it is the
            executor's.
        report: called after every epoch with :data:`REPORTED` as far as known, ``memory`` on a GPU, and ``pid``.
    """
    from trainer.data.shared import shared_images
    from trainer.loop import train
    from trainer.mirrors.mirror import Mirrors
    from trainer.record.identity import run_id
    from trainer.runtime import pick_device
    from trainer.workers import memory

    config = presets.build(task["config"])
    device = pick_device(config)
    memory.start_measuring(device)  # this process may have served another trial
    if task["share"]:
        memory.limit_share(device, task["share"])
    run = Path(task["runs"]) / run_id(config)
    with mirror_environment(task["mirror_environment"]):
        mirrors = Mirrors(config, task["study"], task["label"], run, task["wandb"], task["tensorboard"], task["role"])

    def tell(metrics: dict[str, Any]) -> None:
        mirrors.follow()
        # of an epoch trained by another process there is no peak to measure
        held = None if metrics.get("repeated") else memory.measured(device)
        report(_small({**metrics, "memory": held, "notice": mirrors.trouble}))

    try:
        images = shared_images(config)
        # the process of a killed driver may still be ending when the next one begins: wait for it
        train(
            config,
            Path(task["runs"]),
            task["study"],
            report=tell,
            gate=task["gate"],
            baselines=task["baselines"],
            images=images,
            wait=True,
        )
    finally:
        mirrors.close()


@contextmanager
def mirror_environment(path: str | None) -> Iterator[None]:
    """The key of W&B and a proxy's password, while the mirror is opened: its own process inherits them only.

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


def _small(report: dict[str, Any]) -> dict[str, Any]:
    known = {name: report[name] for name in REPORTED if name in report}
    memory = {"memory": report["memory"]} if report.get("memory") else {}
    return known | memory | {"pid": os.getpid()}
