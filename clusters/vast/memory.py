"""What this machine remembers between commands: Ray's changing tags, launches of the last hour, machines that failed,
and how long an epoch took.

Losing the file costs a repeated setup, nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.record.lock import Lock

BAD_FOR = 7 * 24 * 3600


def place() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "seq-jepa-studies" / "vast.json"


class Memory:
    """Safe for several threads and processes."""

    def __init__(self, file: Path | None = None):
        self._file = file or place()

    def tags(self, instance: int) -> dict[str, str]:
        return dict(self._read()["tags"].get(str(instance), {}))

    def set_tags(self, instance: int, tags: dict[str, str]) -> None:
        with self._changing() as state:
            state["tags"].setdefault(str(instance), {}).update(tags)

    def forget(self, instance: int) -> None:
        with self._changing() as state:
            state["tags"].pop(str(instance), None)

    def launches(self) -> int:
        """Within the last hour."""
        return sum(time.time() - at < 3600 for at in self._read()["launches"])

    def launched(self) -> None:
        with self._changing() as state:
            state["launches"] = [at for at in state["launches"] if time.time() - at < 3600] + [time.time()]

    def bad_machines(self) -> set[int]:
        return {int(machine) for machine, at in self._read()["bad"].items() if time.time() - at < BAD_FOR}

    def is_bad(self, machine: int | None) -> None:
        if machine is not None:
            with self._changing() as state:
                state["bad"][str(machine)] = time.time()

    def epoch_seconds(self, work: str) -> float | None:
        """Wall time of an epoch of this work, as the last study that ran here took it."""
        found = self._read()["epochs"].get(work)
        return float(found) if isinstance(found, (int, float)) and found > 0 else None

    def took(self, work: str, epoch_seconds: float) -> None:
        with self._changing() as state:
            state["epochs"][work] = epoch_seconds

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = {"tags": {}, "launches": [], "bad": {}, "epochs": {}}
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return state
        return {
            k: stored[k] if isinstance(stored, dict) and isinstance(stored.get(k), type(v)) else v
            for k, v in state.items()
        }

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with Lock(self._file.with_suffix(".lock"), "{who} is writing", wait=True):
            state = self._read()
            yield state
            partial = self._file.with_suffix(".partial")
            partial.write_text(json.dumps(state), encoding="utf-8")
            partial.replace(self._file)
