"""Catching a run at a stated moment: it is frozen first and looked at then, so the moment is certain, not likely."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from faults import processes
from faults.study import Study


@dataclass(frozen=True)
class Caught:
    """A frozen training process.

    Attributes:
        epoch: complete epochs on the run's record.
    """

    pid: int
    run: str
    epoch: int


def checkpoint_write(study: Study, least: int = 1, avoid: Collection[str] = ()) -> Caught:
    """A run whose next checkpoint is half-way to the disk: the temporary file is there, the process stands still.

    Args:
        least: epochs that the run must have on record.
        avoid: runs that are left alone.
    """
    runs = study.folder / "runs"
    writing = re.compile(r"\.checkpoint\.pt\.(\d+)\.tmp")

    def look() -> Caught | None:
        for run in set(os.listdir(runs) if runs.exists() else ()).difference(avoid):
            try:
                names = os.listdir(runs / run)
            except OSError:
                continue
            for name in names:
                found = writing.fullmatch(name)
                if found is None or not processes.freeze(int(found[1])):
                    continue  # an earlier kill's file, whose process is gone
                caught = Caught(int(found[1]), run, _epochs(study, run))
                if (runs / run / name).exists() and caught.epoch >= least:
                    return caught
                processes.thaw(caught.pid)
        return None

    return study.until(look, "a checkpoint was being written", every=0.0005)


def mid_epoch(study: Study, least: int = 1, avoid: Collection[str] = (), share: float = 0.4) -> Caught:
    """A run that has computed ``share`` of an epoch since its last checkpoint, which holds all that is on record.

    Args:
        least: epochs that the run must have on record.
        avoid: runs that are left alone.
    """
    began: dict[tuple[str, int], tuple[int, float]] = {}

    def look() -> Caught | None:
        for run in study.run_ids:
            lines = study.lines(run)
            measured = [line for line in lines if line["event"] == "eval" and line["epoch"]]
            if run in avoid or len(measured) < max(1, least) or lines[-1]["event"] not in ("eval", "resume"):
                continue
            record, saved = (study.folder / "runs" / run / name for name in ("records.jsonl", "checkpoint.pt"))
            key = run, len(lines)
            if key not in began:
                written = saved.exists() and saved.stat().st_mtime_ns >= record.stat().st_mtime_ns
                pid = study.trainer_of(run) if written else None
                if pid is None:
                    continue
                began[key] = pid, processes.computed(pid) or 0.0
            pid, before = began[key]
            needed = share * measured[-1]["core_seconds"]["train"]
            if (processes.computed(pid) or 0.0) - before < needed or not processes.freeze(pid):
                continue
            if len(study.lines(run)) == len(lines) and study.trainer_of(run) == pid:
                return Caught(pid, run, len(measured))
            processes.thaw(pid)
        return None

    return study.until(look, "a run was inside an epoch", every=0.002)


def starting(study: Study) -> int:
    """The process of a trial that waits for workers of its own, which have their place and have reported nothing."""

    def look() -> int | None:
        pids = study.pids
        workers = [processes.born(pid) or 0 for pid in processes.named("RayTrainWorker", pids)]
        for pid in processes.named("ImplicitFunc", pids):
            since = processes.born(pid)
            if since is not None and workers and max(workers) > since and not study.epochs:
                return pid
        return None

    return study.until(look, "a trial's workers had started", every=0.05)


def _epochs(study: Study, run: str) -> int:
    return sum(line["event"] == "epoch" for line in study.lines(run))
