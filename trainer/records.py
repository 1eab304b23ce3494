"""The append-only record of a run, ``runs/<run_id>/records.jsonl``: the only truth.

One JSON object per line and event:

=================  ==========================================================================
schema_version     1
event              ``epoch`` (training terms of an epoch), ``eval`` (probes), ``stop`` (the run
                   ended by itself; ``reason``), ``error`` (``reason``), ``resume``
study, run_id, arm_id, seed, attempt
step, samples_seen counted since the start of the run, over all attempts
epoch              completed epochs, null where the data have none
probe_epoch        the epoch after which the dearer probes were last fitted
split              ``train`` | ``validation`` | ``test``
metrics            {``name/feature@views``: number}; null stands for NaN or infinity
=================  ==========================================================================

``VOLATILE`` fields (times, host, attempt, code version) may differ between two executions of the same
run; everything else is bit-identical after a kill and resume on the same machine.
The first line of a run also carries ``config`` and ``provenance``, a ``resume`` line ``provenance``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.errors import RecordError

SCHEMA_VERSION = 1
EVENTS = ("epoch", "eval", "stop", "error", "resume")
VOLATILE = ("attempt", "seconds", "core_seconds", "provenance", "workers", "device")


class RecordFile:
    """Appends events durably. A torn last line, left by a kill, is cut off when the file is opened.

    Attributes:
        repaired: the torn text that was removed, or None.
        attempt: 1 for the first execution of the run; written into every line.
    """

    def __init__(self, path: Path, common: dict[str, Any]):
        self.path, self._common = path, common
        path.parent.mkdir(parents=True, exist_ok=True)
        self.repaired = cut_torn_line(path)
        self._seen = {_key(line): line for line in read(path)}
        self.attempt = 1 + max((line["attempt"] for line in self._seen.values()), default=0)
        self._file = path.open("ab")
        _sync_folder(path.parent)

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
            return {**earlier, "differs": earlier["metrics"] != line["metrics"]}
        self._file.write(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._seen[_key(line)] = line
        return line

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a record file; a torn last line is passed over, others raise."""
    if not path.exists():
        return
    raw = path.read_bytes()
    lines = raw.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"{path}, line {number}: not valid JSON ({error.msg}); restore the file from a copy") from None


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
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    gate = (line.get("gate") or {}).get("gate")
    return line["event"], line.get("epoch"), line.get("split"), line.get("reason"), gate


def _finite(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def cut_torn_line(path: Path) -> str | None:
    if not path.exists():
        return None
    raw = path.read_bytes()
    end = raw.rfind(b"\n") + 1
    if end == len(raw):
        return None
    with path.open("r+b") as file:
        file.truncate(end)
        os.fsync(file.fileno())
    return raw[end:].decode(errors="replace")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
