"""``decisions.jsonl``: every suggestion, rung decision, stop, end and choice of a study, with its inputs.

Together with the runs' records it is all a study knows; a restarted driver continues from these two.
Events: ``suggest``, ``rung``, ``stop``, ``finish``, ``select``, ``compare``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trainer.records import cut_torn_line, read

NAME = "decisions.jsonl"


class Decisions:
    """Appends events durably and holds those on record in order."""

    def __init__(self, study: Path):
        self.path = study / NAME
        self.repaired = cut_torn_line(self.path)
        self.events: list[dict[str, Any]] = list(read(self.path))
        self._file = self.path.open("ab")

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        line = {"event": event, **fields}
        self._file.write(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(line)
        return line

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]

    def last(self, event: str, **match: Any) -> dict[str, Any] | None:
        """The newest event of a kind whose fields equal ``match``."""
        for line in reversed(self.events):
            if line["event"] == event and all(line.get(key) == value for key, value in match.items()):
                return line
        return None
