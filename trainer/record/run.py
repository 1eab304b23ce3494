"""The append-only record of a run, ``runs/<run_id>/records.jsonl``: the only truth.

One JSON object per line and event:

=================  ==========================================================================
schema_version     1
event              ``epoch`` (training terms of an epoch), ``eval`` (probes), ``stop`` (the run
                   ended by itself; ``reason``), ``error`` (``reason``), ``resume``
study, run_id, arm_id, seed, attempt
step, samples_seen counted since the start of the run, over all attempts
epoch              completed epochs, null where the data have none
probe_epoch        the epoch after which the more expensive probes were last fitted
split              ``train`` | ``validation`` | ``test``
metrics            {``name/feature@views``: number}; null stands for NaN or infinity
=================  ==========================================================================

``VOLATILE`` fields (times, host, attempt, code version) may differ between two executions of the same
run; everything else is bit-identical after a kill and resume on the same machine.
The first line of a run also carries ``config``, ``provenance`` and ``parameters`` (how many are trained, of each part
and in ``total``), a ``resume`` line ``provenance``.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from trainer.record.jsonl import Appender, read, sync_folder
from trainer.record.run_lines import EVENTS, SCHEMA_VERSION, read_run

VOLATILE = ("attempt", "seconds", "core_seconds", "provenance", "workers", "device")
__all__ = ["RecordFile", "comparable", "read", "read_run", "write_atomically", "write_json"]


class RecordFile:
    """Appends events durably. A torn last line, left by a kill, is cut off when the file is opened.

    Attributes:
        repaired: the torn text that was removed, or None.
        attempt: 1 for the first execution of the run; written into every line.
    """

    def __init__(self, path: Path, common: dict[str, Any]):
        self.path, self._common = path, common
        self._seen: dict[tuple[Any, ...], dict[str, Any]] = {}
        for line in read_run(path, common["run_id"]):  # before anything is changed
            self._seen.setdefault(_key(line), line)
        self._lines = Appender(path)
        self.repaired = self._lines.repaired
        self.attempt = 1 + max((line.get("attempt", 1) for line in self._seen.values()), default=0)

    def append(self, event: str, metrics: dict[str, float] | None = None, **fields: Any) -> dict[str, Any]:
        """Write one event and return the line on record.

        An epoch that is already on record (it was trained again because its checkpoint was not yet
        durable) is not written twice: the first line stays, and the line returned says under
        ``differs`` whether the repetition gave other metrics.
        """
        if event not in EVENTS:
            raise ValueError(f"event = {event!r} must be one of {', '.join(EVENTS)}")
        line = {"schema_version": SCHEMA_VERSION, "event": event, **self._common, "attempt": self.attempt, **fields}
        line["metrics"] = {name: _finite(value) for name, value in (metrics or {}).items()}
        earlier = self._seen.get(_key(line)) if event in ("epoch", "eval", "stop") else None
        if earlier is not None:
            # only what was measured both times: an epoch is probed or not by where the run was to end
            both = earlier["metrics"].keys() & line["metrics"].keys()
            return {**earlier, "differs": any(earlier["metrics"][name] != line["metrics"][name] for name in both)}
        self._lines.append(line)
        self._seen[_key(line)] = line
        return line

    def close(self) -> None:
        self._lines.close()


def comparable(line: dict[str, Any]) -> dict[str, Any]:
    """The part of a line that must be bit-identical between two executions of the same run."""
    return {key: value for key, value in line.items() if key not in VOLATILE}


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file atomically and durably."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None  # the system names no file when a disk is full
    sync_folder(path.parent)


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    gate = (line.get("gate") or {}).get("gate")
    return line["event"], line.get("epoch"), line.get("split"), line.get("reason"), gate


def _finite(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None
