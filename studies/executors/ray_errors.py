"""What kind of end an exception from Ray stands for."""

from __future__ import annotations

import re
from collections.abc import Collection

import ray
from ray import exceptions

from studies.executors.failure_kinds import reason_of, told_kind
from studies.executors.lifeline import answers
from trainer.workers.failure import Failure, describe

# a group of workers that found no place in time, and one of which a worker or its node died while it started (ray 2.60,
# not exported)
_NO_PLACE, _DIED_STARTING = "WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"
# Ray has no type for an actor that went with its node; these words are in the message (ray 2.60)
_NODE_GONE = ("node has died", "node was terminated", "node is dead", "node failure")
# Ray's memory monitor kills a worker when the whole node runs low; how much the worker itself held is in the message
# (ray 2.60)
_MONITOR = ("node running low on memory", "NODE_OUT_OF_MEMORY")
ITS_OWN_FAULT = 0.5
"""Part of the used memory from which on the killed process is held to be the reason."""


def kind_of(error: BaseException | Failure | None, nodes: Collection[str] = ()) -> tuple[str, str]:
    """``preempted``, ``memory_pressure``, ``disk_full``, ``out_of_memory`` or ``failed``, and the reason in one line.

    A lost node counts as preempted: whether its owner took it back or it broke, the run is not to blame. So does a
    place that others took before all of a trial's workers had started. Memory pressure: the node ran low, mostly
    through others.

    Args:
        error: what a trial told, or what Ray says of one that can tell nothing any more.
        nodes: ids of those the trial ran on, as far as it had told.
    """
    if error is None:
        return "failed", "no exception was left"
    failure = describe(error) if isinstance(error, BaseException) else error
    parts, reason = failure["parts"], reason_of(failure)
    for part in parts:
        names, text = part["types"], part["text"]
        if part["preempted"] or "NodeDiedError" in names or names[0] in ("PreemptionError", _NO_PLACE):
            return "preempted", reason
        if "RayActorError" in names and any(words in text for words in _NODE_GONE):
            return "preempted", reason
    for part in parts:
        if any(words in part["text"] for words in _MONITOR):
            return _by_the_monitor(part["text"])
    kind, why = told_kind(failure)
    if kind != "failed":
        return kind, why
    if any("OutOfMemoryError" in part["types"] for part in parts):  # Ray's, which is no exception of the trial's
        return "out_of_memory", reason
    died = any("RayActorError" in part["types"] or part["types"][0] == _DIED_STARTING for part in parts)
    if died and _lost(nodes):
        return "preempted", f"its node was lost: {reason}"
    return "failed", reason


def _by_the_monitor(text: str) -> tuple[str, str]:
    """Whether the killed process held most of the memory in use itself."""
    own, used, limit = _own_gb(text), *_node_gb(text)
    held = f"it held {own:.1f} GB itself" if own is not None else "how much it held itself is not known"
    whole = f" ({used:.1f} of {limit:.1f} GB in use, {held})" if used is not None else ""
    told = f"Ray's memory monitor killed it because the node ran low on memory{whole}"
    if own is not None and used and own >= ITS_OWN_FAULT * used:
        return "out_of_memory", told
    return "memory_pressure", f"{told}: not the trial's fault; free memory there or lower --max-concurrent"


def _own_gb(text: str) -> float | None:
    chosen = re.search(r"Selected to kill:(.*?)(?:Not selected|\n\]|$)", text, re.DOTALL)
    held = re.findall(r"actual memory used=([\d.]+)GB", chosen[1]) if chosen else []
    return max(map(float, held), default=None)


def _node_gb(text: str) -> tuple[float | None, float | None]:
    found = re.search(r"([\d.]+)GB used / ([\d.]+)GB", text)
    return (float(found[1]), float(found[2])) if found else (None, None)


def _lost(nodes: Collection[str]) -> bool:
    """Whether one of these nodes is gone, or, if none is named, any that Ray believes alive.

    Ray notices only seconds later; until then the actor is "unavailable" for no known reason. So the node is asked.
    """
    for node in ray.nodes() if ray.is_initialized() else ():
        if node["NodeID"] in nodes if nodes else node["Alive"]:
            if not node["Alive"] or not answers(node["NodeManagerAddress"], node["NodeManagerPort"]):
                return True
    return False


def own_error(error: BaseException) -> OSError | None:
    """What the system refused Tune in the driver (a full disk), out of the text that Tune made of it."""
    part: BaseException | None = error
    while part is not None:
        if isinstance(part, OSError) and not isinstance(part, exceptions.RayError):
            return part
        part = part.__cause__ or part.__context__
    return None
