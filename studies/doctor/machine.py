"""Processors, memory and the limits of this process, against what the trials take."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from studies.doctor.finding import GB, Finding, fail, ok, warn
from studies.running.processors import text_of
from trainer.config import SETS, RunConfig, members, split_sizes

# resident memory on Linux with CPU builds, rounded up: Ray's servers and object store, a training process, and what
# TorchTrainer adds per trial
RAY_BYTES, WORKER_BYTES, TORCH_TRAINER_BYTES = 1.0 * GB, 0.5 * GB, 1.3 * GB
OBJECT_STORE_BYTES = 256 * 2**20  # what a study without --address asks Ray for


def cpus(shown: int, have: int, each: int, workers: int) -> Finding:
    """Processors against one trial and against as many as a study would start.

    Args:
        shown: of the machine.
        have: those a study may use and counts.
    """
    one = each * workers
    here = f"{have}" if have >= shown else f"{have} of {shown} (container or affinity)"
    takes = f"{here}, {one} CPU{'s' * (one > 1)} per trial"
    if one > have:
        return fail("cpus", takes, "not one trial could start", "lower --cpus-per-trial or --workers-per-trial")
    return ok("cpus", f"{takes}: {have // one} at once")


def image_bytes(config: RunConfig) -> int:
    """Memory a training process holds its images in; 0 if they are mapped from disk."""
    size = 0
    for data in members(config.data):
        facts = SETS[data.name]
        size += sum(split_sizes(data)) * facts.views * facts.channels * facts.side**2
    return size if size <= config.runtime.resident_mib * 2**20 else 0


def memory_now(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """(total, available) bytes of the machine; without /proc, the total for both."""
    values = dict(line.split(":", 1) for line in text_of(meminfo).splitlines() if ":" in line)
    if "MemTotal" in values and "MemAvailable" in values:
        total, available = (int(values[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        return total, available
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, total


def memory(total: int, available: int, limit: int | None, images: int, workers: int, at_once: int) -> Finding:
    """Available memory against an estimate of what the trials take together."""
    per_trial = workers * (WORKER_BYTES + images) + (TORCH_TRAINER_BYTES if workers > 1 else 0)
    need = RAY_BYTES + at_once * per_trial
    bounded = limit is not None and limit < total
    have = min(available, limit) if bounded else available
    found = f"{have / GB:.1f} GB available"
    if bounded:
        found += f" (the container's limit is {limit / GB:.1f} of {total / GB:.0f} GB)"
    wants = f"{f'{at_once} trials at once take' if at_once > 1 else 'one trial takes'} about {need / GB:.1f} GB"
    if have < RAY_BYTES + per_trial:
        why = f"one trial and Ray take about {(RAY_BYTES + per_trial) / GB:.1f} GB; processes would be killed"
        return fail("memory", found, why, "free memory or take a larger machine")
    if have < need:
        fits = int((have - RAY_BYTES) // per_trial)
        return warn("memory", found, f"{wants}; processes may be killed", f"give --max-concurrent {fits}")
    return ok("memory", f"{found}; {wants}")


def shared_memory(free: int | None) -> Finding:
    """/dev/shm, where Ray keeps its object store; None where there is none (macOS)."""
    if free is None:
        return ok("/dev/shm", "not on this system; Ray uses its temporary folder")
    size = f"{free / 2**20:,.0f} MiB free"
    if free >= OBJECT_STORE_BYTES:
        return ok("/dev/shm", size)
    why = f"Ray's object store wants {OBJECT_STORE_BYTES // 2**20} MiB and falls back to a slow disk, nccl may fail"
    return warn("/dev/shm", size, why, "docker run --shm-size=2g, or delete old files there")


def shm_free(folder: Path = Path("/dev/shm")) -> int | None:
    """Free bytes of the shared-memory file system, or None."""
    if not sys.platform.startswith("linux") or not folder.is_dir():
        return None
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def open_files(soft: int, hard: int) -> Finding:
    """The limit of open files; Ray raises the soft one as far as the hard one allows."""
    unlimited = 2**31
    reach = min(hard if hard >= 0 else unlimited, 65_536)
    best = max(soft if soft >= 0 else unlimited, reach)
    found = f"{'no limit' if soft < 0 else soft}"
    if best < 1024:
        return fail(
            "open files",
            found,
            "Ray's processes would fail to open sockets",
            "ulimit -n 8192, in the shell that starts the study",
        )
    if best < 4096:
        return warn(
            "open files", found, "Ray may lose connections when many trials run", "ulimit -n 8192 before the study"
        )
    return ok("open files", found)
