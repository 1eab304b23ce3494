"""Ray Tune behind the face of an executor.

Tune calls those it serves and cannot be asked, so it runs in a thread of its own, which stands still while the
    study thinks: at
every event it waits until the study asks for the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from studies.executors.face import Event
from studies.executors.failure_kinds import refusal
from studies.executors.lifeline import Lifeline
from studies.executors.worker_groups import WorkerGroups
from studies.running.capacity import Capacity
from trainer.workers.failure import Failure

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

LOOK_SECONDS = 0.1
JOIN_SECONDS = 15.0


class _Over(BaseException):
    """Raised in Tune's thread: the study ended, or gave up."""


class TuneExecutor:
    """An :class:`studies.executors.face.Executor`.

    Args:
        fit: runs Tune, which asks and tells what stands below under "Tune's side", until there is nothing left.
        capacity: how many trials fit now.
        groups: of trials with workers of their own, None if there are none.
        lifeline: tells when Ray itself is gone.
    """

    def __init__(
        self, fit: Callable[[TuneExecutor], None], capacity: Capacity, groups: WorkerGroups | None, lifeline: Lifeline
    ):
        self._fit, self._capacity, self._groups, self._lifeline = fit, capacity, groups, lifeline
        self._tasks: deque[dict[str, Any]] = deque()
        self._news: SimpleQueue[Event | BaseException] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._trials: dict[str, Trial] = {}
        self._held: str | None = None
        self._stopped = False
        self._finished = self._given_up = False
        self._thread = threading.Thread(target=self._work, name="tune", daemon=True)

    # --- the study's side

    def room(self, running: int) -> bool:
        return self._capacity.may_start(running) and (self._groups is None or self._groups.settled())

    def start(self, task: dict[str, Any]) -> None:
        self._tasks.append(task)
        if self._thread.ident is None:
            self._thread.start()

    def events(self) -> Iterator[Event]:
        self._let_go()
        self._lifeline.check()
        try:
            news = self._news.get(timeout=LOOK_SECONDS)
        except Empty:
            return
        if isinstance(news, BaseException):
            raise news
        self._held = news.name
        yield news

    def stop(self, name: str) -> None:
        import ray

        if name == self._held:
            self._stopped = True
            return
        actor = self._trials[name].temporary_state.ray_actor if name in self._trials else None
        if actor is not None:
            ray.kill(actor)

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        import ray

        return ray.cluster_resources(), ray.available_resources()

    def close(self, finished: bool) -> None:
        """Let Tune end, or leave it where it is.

        Args:
            finished: nothing runs any more.
        """
        self._finished, self._given_up = finished, not finished
        self._answers.put(False)
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS if finished else 2.0)  # one that hangs in a lost Ray goes on hanging

    def _let_go(self) -> None:
        if self._held is not None:
            self._held, stopped, self._stopped = None, self._stopped, False
            self._answers.put(stopped)

    # --- Tune's side, in its thread

    def next_task(self) -> dict[str, Any] | str | None:
        from studies.executors.tune_adapters import FINISHED

        self.step()
        if self._tasks:
            return self._tasks.popleft()
        return FINISHED if self._finished else None

    def step(self) -> None:
        if self._given_up:
            raise _Over

    def started(self, trial: Trial) -> None:
        name = trial.config["name"]
        self._trials[name] = trial
        if self._groups is not None:
            self._groups.started(name)
        self._tell(Event("start", name))

    def reported(self, trial: Trial, result: dict[str, Any]) -> bool:
        name = trial.config["name"]
        if self._groups is not None:
            self._groups.told(name, result.get("placement_group"))
        return self._tell(Event("epoch", name, result))

    def ended(self, trial: Trial) -> None:
        self._tell(Event("end", self._gone(trial), trial.last_result or {}))

    def failed(self, trial: Trial, failure: Failure | None, told: bool) -> None:
        """An attempt ended without a result; ``told``: by its own word."""
        from studies.executors.ray_errors import kind_of

        name, result, refused = self._gone(trial), trial.last_result or {}, refusal(failure)
        kind, reason = kind_of(failure, result.get("nodes") or ())
        if refused is None and not told and (gone := self._lifeline.gone_now()):
            kind, reason = "preempted", f"Ray itself went away: {gone}"
        self._tell(Event("failed", name, result, kind, reason, failure["trace"] if failure else reason, refused))

    def _gone(self, trial: Trial) -> str:
        name = trial.config["name"]
        self._trials.pop(name, None)
        if self._groups is not None:
            self._groups.gone(name)
        return name

    def _tell(self, event: Event) -> bool:
        """Whether the trial stops here; answered when the study asks for the next event."""
        self._news.put(event)
        stops = self._answers.get()
        self.step()
        return stops

    def _work(self) -> None:
        try:
            self._fit(self)
        except _Over:
            return
        except BaseException as error:
            from studies.executors.ray_errors import own_error

            self._news.put(own_error(error) or error)
        else:
            if not self._finished:
                self._news.put(RuntimeError("Tune ended before the study did"))
