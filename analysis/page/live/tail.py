"""Runs' records read again and again: only what was added is parsed.

A record only grows, but for one case: whoever continues a run cuts off a torn last line. What was read are whole lines,
so that cut is none of ours. A file that is replaced, shorter, or different before the offset is read anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.runs import Run, read_run, run_of
from trainer.errors import RecordError
from trainer.record_lines import check_line

_LAST = 64
"""Bytes before the offset that must still be there."""


@dataclass
class _Tail:
    inode: int
    offset: int = 0
    last: bytes = b""
    lines: list[dict[str, Any]] = field(default_factory=list)
    signature: tuple[int, int, int] = (0, 0, 0)
    run: Run | None = None


class Tails:
    """Reads runs; see ``analysis.study.load``."""

    def __init__(self) -> None:
        self._tails: dict[Path, _Tail] = {}

    def __call__(self, path: Path) -> Run:
        """The run as ``read_run`` gives it, at the cost of what is new.

        Raises:
            RecordError, UsageError: see ``read_run``.
        """
        status = path.stat()
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        tail = self._tails.get(path)
        if tail is not None and tail.signature == signature and tail.run is not None:
            return tail.run
        if tail is None or tail.inode != status.st_ino or status.st_size < tail.offset or not tail.lines:
            tail = _Tail(status.st_ino)
        with path.open("rb") as file:
            file.seek(max(0, tail.offset - _LAST))
            before = file.read(min(_LAST, tail.offset))
            if before != tail.last:
                tail = _Tail(status.st_ino)
                file.seek(0)
            new = file.read()
        try:
            self._take(path, tail, new)
            run = run_of(tail.lines, path)
        except (RecordError, ValueError):
            self._tails.pop(path, None)
            return read_run(path)  # says what is wrong as everybody else does
        tail.run, tail.signature = run, signature
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
        tail.last = (tail.last + whole)[-_LAST:] if whole else tail.last
