"""The face of an executor. No torch, no ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    Attributes:
        what: ``start`` (it has its place), ``epoch`` (it reports one and waits), ``end`` (its run ended or was stopped)
            or ``failed`` (the attempt ended without a result).
        name: of its job.
        result: its last report, see :func:`trainer.loop.train`; empty before the first.
        kind: of a failure, one of :data:`studies.engine.job.FAILURES`.
        reason: of a failure, in one line.
        trace: of a failure, all that is known.
        refused: what its UsageError said, if it ended with one: trying again is no use.
    """

    what: str
    name: str
    result: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    reason: str = ""
    trace: str = ""
    refused: str | None = None


class Executor(Protocol):
    """Starts trials and says what becomes of them."""

    def room(self, running: int) -> bool:
        """Whether another trial may be started beside ``running`` ones."""

    def start(self, task: dict[str, Any]) -> None:
        """Start a trial as soon as it has a place; see :func:`trainer.workers.task.run_task` for the task."""

    def events(self) -> Iterator[Event]:
        """What happened since, after a short wait if nothing did.

        A trial that reports an epoch stands still until this is called again: by then :meth:`stop` was called or not.

        Raises:
            ClusterLost: what executes is gone.
        """

    def stop(self, name: str) -> None:
        """Stop a trial: at the epoch it just reported, where that was the last event, otherwise by killing it."""

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        """What there is for trials and what of it is free, by kind (``CPU``, ``GPU``)."""
