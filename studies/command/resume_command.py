"""How the study at hand is continued: the command, or in a notebook the call."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CALL: list[str] = []


def resume_command() -> str:
    """A line to copy."""
    return _CALL[-1] if _CALL else shlex.join(["python", *sys.argv, *([] if "--resume" in sys.argv else ["--resume"])])


@contextmanager
def called_as(call: str) -> Iterator[None]:
    """While this lasts, the study was not started by a command, and this call continues it."""
    _CALL.append(call)
    try:
        yield
    finally:
        _CALL.pop()
