"""Plain processes on this machine as the executor of a study: no Ray, the same decisions and records.

A process serves one trial after the other, so torch is imported once; one whose trial failed or was killed is replaced.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studies.engine.settings import Resources
from studies.executors.face import Event
from studies.executors.failure_kinds import refusal, told_kind
from studies.executors.gpu_slots import gpu_slots, visible_gpus
from studies.executors.worker_process import WorkerProcess
from studies.running.processors import text_of
from trainer.workers.failure import Failure

LOOK_SECONDS = 0.1


class ProcessExecutor:
    """An :class:`studies.executors.face.Executor`.

    Args:
        places: CUDA_VISIBLE_DEVICES of each place for a trial, None to leave it as it is.
        threads: of one process.
        environment: what the processes are given of the user's.
        hide: takes secrets out of a text.
    """

    def __init__(
        self,
        places: list[str | None],
        threads: int,
        environment: Mapping[str, str],
        hide: Callable[[str], str],
        vmstat: Path = Path("/proc/vmstat"),
    ):
        self._places, self._threads, self._environment, self._hide, self._vmstat = (
            places,
            threads,
            environment,
            hide,
            vmstat,
        )
        self._workers: dict[int, WorkerProcess] = {}
        self._busy: dict[int, str] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._news: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        self._held: int | None = None
        self._stopped = False
        self._oom_kills = self._oom_count()

    def warm_up(self, most: int) -> None:
        """Start processes for the first trials, while it is still being found out what these are."""
        for place in range(min(most, len(self._places))):
            self._at(place)

    def room(self, running: int) -> bool:
        return running < len(self._places)

    def start(self, task: dict[str, Any]) -> None:
        place = next(place for place in range(len(self._places)) if place not in self._busy)
        self._busy[place] = task["name"]
        self._last[task["name"]] = {}
        self._at(place).send({"task": task})
        self._news.append(Event("start", task["name"]))

    def events(self) -> Iterator[Event]:
        self._let_go()
        if not self._news:
            for key, _ in self._selector.select(LOOK_SECONDS):
                self._read(key.data)
        if self._news:
            event = self._news.popleft()
            if event.what == "epoch":
                self._held = self._place_of(event.name)
            yield event

    def stop(self, name: str) -> None:
        place = self._place_of(name)
        if place is None:
            return
        if place == self._held:
            self._stopped = True
            return
        self._fail(place, "failed", "its process was killed", "")

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        have, busy = len(self._places) * self._threads, len(self._busy) * self._threads
        return {"CPU": have}, {"CPU": have - busy}

    def close(self) -> None:
        for place in list(self._workers):
            self._dismiss(place).kill()
        self._selector.close()

    def _place_of(self, name: str) -> int | None:
        return next((place for place, busy in self._busy.items() if busy == name), None)

    def _at(self, place: int) -> WorkerProcess:
        if place not in self._workers:
            self._workers[place] = WorkerProcess(self._environment, self._places[place], self._threads)
            self._selector.register(self._workers[place], selectors.EVENT_READ, place)
        return self._workers[place]

    def _let_go(self) -> None:
        if self._held is not None:
            place, stopped = self._held, self._stopped
            self._held, self._stopped = None, False
            if place in self._workers:
                self._workers[place].send({"go": not stopped})

    def _read(self, place: int) -> None:
        worker, name = self._workers[place], self._busy.get(place)
        messages, alive = worker.messages()
        for message in messages:
            if "report" in message:
                self._last[name] = message["report"]
                self._news.append(Event("epoch", name, message["report"]))
            elif "end" in message:
                del self._busy[place]
                self._news.append(Event("end", name, self._last.pop(name)))
            else:
                failure: Failure = message["failure"]
                self._fail(place, *told_kind(failure), failure["trace"], refusal(failure))
                return
        if alive:
            return
        if name is None:  # idle, or still importing
            self._dismiss(place).death()
        elif self._busy.get(place) is not None:
            words = f"its process {worker.death()}"
            kind, words = self._by_the_system(words)
            self._fail(place, kind, words, f"{self._hide(worker.last_words())}\n{words}")

    def _fail(self, place: int, kind: str, reason: str, trace: str, refused: str | None = None) -> None:
        name = self._busy.pop(place)
        self._dismiss(place).kill()
        self._news.append(Event("failed", name, self._last.pop(name), kind, reason, trace or reason, refused))

    def _dismiss(self, place: int) -> WorkerProcess:
        worker = self._workers.pop(place)
        self._selector.unregister(worker)
        return worker

    def _by_the_system(self, words: str) -> tuple[str, str]:
        before, self._oom_kills = self._oom_kills, self._oom_count()
        if "SIGKILL" in words and self._oom_kills > before:
            return "out_of_memory", f"{words}: the system ran out of memory; lower --max-concurrent or the batch size"
        return "failed", words

    def _oom_count(self) -> int:
        """Processes that the system killed for want of memory since it started; 0 where it does not say."""
        lines = (line.split() for line in text_of(self._vmstat).splitlines())
        return next((int(words[1]) for words in lines if words[0] == "oom_kill"), 0)


@contextmanager
def opened(
    resources: Resources, environment: Mapping[str, str], hide: Callable[[str], str]
) -> Iterator[ProcessExecutor]:
    """Processes for as long as the study lasts; then none is left.

    Args:
        environment: see :class:`ProcessExecutor`.
        hide: likewise.

    Raises:
        UsageError: the trials' GPUs are hidden from this process.
    """
    places = gpu_slots(resources.concurrent, resources.gpus, visible_gpus(environment))
    executor = ProcessExecutor(places, resources.cpus, environment, hide)
    try:
        yield executor
    finally:
        executor.close()
