"""Runs' records read again and again: only what was added is parsed.

A record only grows, but for one case: whoever continues a run cuts off a torn last line. What was read are whole lines,
so that cut is none of ours. A file that is replaced, shorter, or different before the offset is read anew; that takes
a hash of what was read, which is a hundred times cheaper than to parse it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.recorded.runs import Run, read_run, run_of
from trainer.errors import RecordError
from trainer.record.run_lines import check_line


@dataclass
class _Tail:
    inode: int
    offset: int = 0
    digest: bytes = b""
    lines: list[dict[str, Any]] = field(default_factory=list)
    signature: tuple[int, int, int] = (0, 0, 0)
    run: Run | None = None


class Tails:
    """Reads runs; see ``analysis.recorded.study.load``."""

    def __init__(self) -> None:
        self._tails: dict[Path, _Tail] = {}

    def __call__(self, path: Path) -> Run:
        """The run as ``slim(read_run(path))`` is, at the cost of what is new.

        Raises:
            RecordError, UsageError: see ``read_run``.
        """
        status = path.stat()
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        tail = self._tails.get(path)
        if tail is not None and tail.signature == signature and tail.run is not None:
            return tail.run
        raw = path.read_bytes()
        known = (
            tail is not None
            and tail.inode == status.st_ino
            and tail.lines
            and _digest(raw[: tail.offset]) == tail.digest
        )
        if tail is None or not known:
            tail = _Tail(status.st_ino)
        try:
            self._take(path, tail, raw[tail.offset :])
            run = run_of(tail.lines, path)
        except (RecordError, ValueError):
            self._tails.pop(path, None)
            return slim(read_run(path))  # says what is wrong as everybody else does
        run = slim(run)
        tail.run, tail.signature, tail.digest = run, signature, _digest(raw[: tail.offset])
        if run.stop:
            tail.lines = []  # at its end; if it goes on after all it is read anew
        self._tails[path] = tail
        return run

    def _take(self, path: Path, tail: _Tail, new: bytes) -> None:
        whole = new[: new.rfind(b"\n") + 1]
        for raw in whole.splitlines():
            line = json.loads(raw)
            check_line(path, len(tail.lines) + 1, line)
            if line["run_id"] != path.parent.name:
                raise RecordError(f"{path}: another run's line")
            tail.lines.append(line)
        tail.offset += len(whole)


def slim(run: Run) -> Run:
    """The run without what no page shows: terms of training, and epochs at which only the cheap measures of a running
    model were taken (``..._live/...``), whose seconds count with the next epoch that is kept."""
    kept: dict[int, dict[str, Any]] = {}
    spent: dict[str, dict[str, float]] = {"seconds": {}, "core_seconds": {}}
    for epoch in sorted(run.evals):
        line = run.evals[epoch]
        for name, so_far in spent.items():
            for kind, value in (line.get(name) or {}).items():
                so_far[kind] = so_far.get(kind, 0.0) + value
        metrics = {sys.intern(name): value for name, value in line["metrics"].items() if "_live/" not in name}
        if metrics or epoch == run.reached:
            kept[epoch] = {"metrics": metrics, "probe_epoch": line.get("probe_epoch"), **spent}
            spent = {"seconds": {}, "core_seconds": {}}
    return replace(run, evals=kept, training={})


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()
