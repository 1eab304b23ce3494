"""How much of this machine belongs to this process, and what one trial may take of it."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UsageError


def container_limits(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[float | None, int | None]:
    """(processors, bytes) that control groups allow this process, None where they set no limit.

    The group and all above it count, in both versions of the interface.
    """
    processors, memory = [], []
    for folder in _groups(root, membership):
        quota, _, period = text_of(folder / "cpu.max").partition(" ")
        quota = quota or text_of(folder / "cpu.cfs_quota_us")
        period = period or text_of(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            processors.append(int(quota) / int(period))
        for name in ("memory.max", "memory.limit_in_bytes"):
            if text_of(folder / name).isdigit():
                memory.append(int(text_of(folder / name)))
    limited = [most for most in memory if most < 2**60]  # version 1 writes "none" as 2**63
    return min(processors, default=None), min(limited, default=None)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    for line in text_of(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for base in [root / controllers] if controllers else [root, root / "unified"]:
            here = base / path.strip("/")
            yield from (folder for folder in (here, *here.parents) if folder == base or base in folder.parents)


def text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # absent, or of the other version
        return ""


def usable_processors(limit: float | None) -> float:
    """Processors this process may really use: its affinity, and the container's limit."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return here if limit is None else min(here, limit)


def processors_here() -> int:
    """Whole processors for trials on this machine, at least 1."""
    return max(1, math.floor(usable_processors(container_limits()[0])))


def check_sizes(o: Namespace) -> None:
    """Refuse sizes of a trial that no machine could give. Raises UsageError."""
    for option, value in (("--cpus-per-trial", o.cpus_per_trial), ("--workers-per-trial", o.workers_per_trial)):
        if value < 1:
            raise UsageError(f"{option} {value}: must be at least 1")
    if not 0 <= o.gpus_per_trial < 1e6 or (o.gpus_per_trial > 1 and o.gpus_per_trial % 1):
        raise UsageError(f"--gpus-per-trial {o.gpus_per_trial:g}: must be 0, a fraction below 1, or a whole number")
    if 0 < o.gpus_per_trial < 1 and o.workers_per_trial > 1:
        raise UsageError(
            f"--gpus-per-trial {o.gpus_per_trial:g} with {o.workers_per_trial} workers: nccl needs a whole GPU per"
            " worker"
        )
