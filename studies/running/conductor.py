"""The loop of a study: hands what runs next to the executor, judges what is heard of it, and puts it on record.

No torch, no ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from studies.command.interrupt import Interrupt
from studies.engine.job import Job, Seen
from studies.executors.face import Event, Executor
from studies.running.packing import Packing
from studies.running.watchdog import Watchdog
from trainer.errors import UsageError

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna

TICK_SECONDS = 60
WAITING_SECONDS = 15.0


class Conductor:
    """Carries a study's jobs to its executor and back.

    Args:
        task: makes the plain dict that a trial receives.
        more: asked when nothing is left, whether something was added.
        show: called with (what, job name, fields), what being ``start``, ``epoch``, ``again``, ``hung``, ``waiting``,
            ``stalled``, or how a job ended, once that is on record.
    """

    def __init__(
        self,
        jobs: Jobs,
        executor: Executor,
        task: Callable[[Job], dict[str, Any]],
        show: Callable[[str, str, dict[str, Any]], None],
        *,
        packing: Packing,
        watchdog: Watchdog,
        interrupt: Interrupt,
        more: Callable[[], bool] = lambda: False,
    ):
        self._jobs, self._executor, self._task, self._show = jobs, executor, task, show
        self._packing, self._watchdog, self._interrupt = packing, watchdog, interrupt
        self._more = more
        self._killed: set[str] = set()
        self._any_trained = False
        self._ticked = time.monotonic()

    def run(self) -> None:
        """Go on until nothing runs and nothing is left to start.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM, or the budget went while nothing could start.
            UsageError: no trial can run, a trial does not fit its share of a GPU, or the disk is full.
            ClusterLost: see :meth:`studies.executors.face.Executor.events`.
        """
        self.hand_out()
        while not self._jobs.done or self._more():
            for event in self._executor.events():
                self.take(event)
                self.hand_out()
            self.look_around()
            self.hand_out()

    def hand_out(self) -> None:
        """Start what there is a place for: handed out earlier, it would lack the results that its place waits for."""
        while self._may_start() and (job := self._jobs.next()) is not None:
            self._executor.start(self._task(job))

    def take(self, event: Event) -> None:
        """Judge an event, put it on record and show it."""
        {"start": self._started, "epoch": self._epoch, "end": self._ended, "failed": self._failed}[event.what](event)

    def look_around(self) -> None:
        """What must not wait for a trial to say something."""
        self._interrupt.check()
        for name in self._watchdog.hung():
            self._show("hung", name, {"minutes": self._watchdog.silence / 60})
            self._watchdog.gone(name)
            self._killed.add(name)
            self._executor.stop(name)
        waiting = len(self._jobs.running) or self._jobs.left
        if self._watchdog.waited(waiting, WAITING_SECONDS):
            have, free = self._executor.resources()
            self._show("waiting", "", {"have": have, "free": free})
        if self._watchdog.stalled(waiting):
            self._show("stalled", "", {"minutes": self._watchdog.silence / 60, "have": self._executor.resources()[0]})
        if time.monotonic() - self._ticked > TICK_SECONDS:
            self._ticked = time.monotonic()
            self._jobs.decisions.append("tick")
            if self._jobs.running and not self._watchdog.watched and not self._jobs.may_start():
                raise KeyboardInterrupt  # the budget went while a trial waited for a place

    def _may_start(self) -> bool:
        running = len(self._jobs.running)
        return self._packing.may_start(running) and self._executor.room(running)

    def _started(self, event: Event) -> None:
        self._jobs.started(event.name)
        self._watchdog.heard(event.name)
        self._show("start", event.name, {})

    def _epoch(self, event: Event) -> None:
        self._packing.take(event.result)
        if self._jobs.report(event.name, Seen.of(event.result)):
            self._executor.stop(event.name)
        self._watchdog.heard(event.name)
        self._any_trained = True
        self._show("epoch", event.name, event.result)

    def _ended(self, event: Event) -> None:
        self._watchdog.gone(event.name)
        self._killed.discard(event.name)  # it answered while it was being killed
        state = self._jobs.end(event.name, Seen.of(event.result))
        self._show(state, event.name, event.result)

    def _failed(self, event: Event) -> None:
        self._watchdog.gone(event.name)
        kind, reason = event.kind, event.reason
        if event.name in self._killed:
            self._killed.discard(event.name)
            kind, reason = "hung", f"silent for {self._watchdog.silence / 60:g} minutes"
        epoch, final = int(event.result.get("epoch") or 0), event.refused is not None
        again = self._jobs.fail(event.name, kind, epoch, reason, final)
        said = {"kind": kind, "reason": reason, "trace": event.trace}
        self._show("again" if again else kind, event.name, {**event.result, **said})
        if kind == "disk_full":  # every trial would end so, one after the other
            remedy = "make room, and the same command with --resume continues"
            raise UsageError(f"{reason}; what is on record stands: {remedy}")
        if event.refused is not None and not self._any_trained:
            raise UsageError(f"no trial can run: {event.refused}")
