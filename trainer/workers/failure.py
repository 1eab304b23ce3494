"""An exception as plain data: what a trial tells its driver instead of a pickled exception, without secrets. No torch,
no ray."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from trainer.workers.memory import is_out_of_memory

Failure = dict[str, Any]
"""``parts``: the exception and what caused it, outermost first, each with ``types`` (names of its classes), ``text``,
``preempted``, ``out_of_memory`` and ``disk_full``; ``trace``: the traceback."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_PART, LONGEST_TRACE = 4_000, 30_000


class Told(Exception):
    """A trial or worker failed, and ``failure`` says how; raised in place of the exception itself."""

    def __init__(self, failure: Failure):
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure["parts"][-1]["text"] if self.failure["parts"] else "no exception was left"


def describe(error: BaseException, hide: Callable[[str], str] = lambda text: text) -> Failure:
    """An exception as data.

    Args:
        hide: takes secrets out of a text.
    """
    told = [part.failure for part in chain(error) if isinstance(part, Told)]
    if told:  # a worker said it already, and Ray wrapped it
        return told[0]
    parts = [_part(one, hide) for one in chain(error)]
    trace = hide("".join(traceback.format_exception(error)))
    return {"parts": parts, "trace": trace[-LONGEST_TRACE:]}


def _part(error: BaseException, hide: Callable[[str], str]) -> dict[str, Any]:
    return {
        "types": [kind.__name__ for kind in type(error).__mro__],
        "text": hide(str(error))[:LONGEST_PART],
        "preempted": bool(getattr(error, "preempted", False)),
        "out_of_memory": is_out_of_memory(error),
        "disk_full": isinstance(error, OSError) and error.errno in DISK_FULL,
    }


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what caused it, outermost first: Ray wraps those of tasks, actors and worker groups."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        part = todo.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        inner = [getattr(part, "cause", None), getattr(part, "controller_failure", None), part.__cause__]
        inner += list((getattr(part, "worker_failures", None) or {}).values())
        todo += [other for other in inner if isinstance(other, BaseException)]
