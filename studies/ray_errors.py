"""What kind of end an exception from Ray stands for."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator

import ray
from ray import exceptions

from trainer.errors import RecordError, UsageError
from trainer.memory import is_out_of_memory

# a group of workers that found no place in time, and one of which a worker or its node died while it started (ray 2.60, not exported)
_NO_PLACE, _DIED_STARTING = "WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"
# Ray has no type for an actor that went with its node; these words are in the message (ray 2.60)
_NODE_GONE = ("node has died", "node was terminated", "node is dead", "node failure")


def kind_of(error: BaseException | None, nodes: Collection[str] = ()) -> tuple[str, str]:
    """``preempted``, ``out_of_memory`` or ``failed``, and the reason in one line.

    A lost node counts as preempted: whether its owner took it back or it broke, the run is not to blame. So does a place
    that others took before all of a trial's workers had started.

    Args:
        nodes: ids of those the trial ran on, as far as it had told.
    """
    if error is None:
        return "failed", "no exception was left"
    chain = list(_chain(error))
    reason = " ".join(str(chain[-1]).split())[:300] or type(chain[-1]).__name__
    for part in chain:
        if getattr(part, "preempted", False) or isinstance(part, exceptions.NodeDiedError) or type(part).__name__ in ("PreemptionError", _NO_PLACE):
            return "preempted", reason
        if isinstance(part, exceptions.RayActorError) and any(words in str(part) for words in _NODE_GONE):
            return "preempted", reason
    if any(isinstance(part, exceptions.OutOfMemoryError) or is_out_of_memory(part) for part in chain):
        return "out_of_memory", reason
    if any(isinstance(part, exceptions.RayActorError) or type(part).__name__ == _DIED_STARTING for part in chain) and _lost(nodes):
        return "preempted", f"its node was lost: {reason}"
    return "failed", reason


def refusal(error: BaseException | None) -> UsageError | None:
    """The UsageError that a trial ended with: its settings or its machine are at fault, and trying again is no use."""
    for part in _chain(error) if error is not None else ():
        if isinstance(part, UsageError) and not isinstance(part, exceptions.RayError):
            return part
    return None


def _lost(nodes: Collection[str]) -> bool:
    """Whether one of these nodes is gone, or, if none is named, any that Ray believes alive.

    Ray notices only seconds later; until then the actor is "unavailable" for no known reason. So the node is asked.
    """
    for node in ray.nodes() if ray.is_initialized() else ():
        if node["NodeID"] in nodes if nodes else node["Alive"]:
            if not node["Alive"] or not _answers(node["NodeManagerAddress"], node["NodeManagerPort"]):
                return True
    return False


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _chain(error: BaseException) -> Iterator[BaseException]:
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


def own_error(error: BaseException) -> BaseException | None:
    """What our own code in the driver raised (a full disk, a trial that does not fit), out of the text that Tune made of it."""
    part: BaseException | None = error
    while part is not None:
        if isinstance(part, (UsageError, RecordError, OSError)) and not isinstance(part, exceptions.RayError):
            return part
        part = part.__cause__ or part.__context__
    return None
