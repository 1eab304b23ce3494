"""One search on W workers, event by event, from recorded curves: what it trains, how long it takes, what it picks.

A trial holds one worker. Taking it up costs the start-up seconds, each epoch its own seconds on record; going on
past a rung costs no start-up, being continued from a checkpoint does. Failures and preemptions strike a worker that
is starting or training as independent Poisson processes. Either loses what was trained since the last checkpoint,
at most ``checkpoint_every`` epochs and the unfinished one, and the trial is taken up again before any new one. Only
failures are counted against ``retries``; a trial that fails more often was not run. A preempted worker is replaced
at once.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from random import Random

from studies.replay.schedulers import Scheduler
from studies.replay.trials import Trials
from trainer.errors import UsageError

MAX_STARTS = 1000
"""A trial taken up this often makes no progress: the interruptions come faster than a checkpoint."""


@dataclass(frozen=True)
class Machine:
    """Where trials run.

    Attributes:
        startup: seconds from taking up a trial to its first step.
        checkpoint_every: epochs. A trial that pauses at a gate has a checkpoint there.
        failures, preemptions: per hour and busy worker.
        retries: failures of a trial that are forgiven.
    """

    workers: int = 1
    startup: float = 0.0
    checkpoint_every: int = 1
    failures: float = 0.0
    preemptions: float = 0.0
    retries: int = 3


@dataclass
class Outcome:
    """What one simulated search did.

    Attributes:
        epochs: completed epochs paid for, those trained again included.
        again: epochs trained more than once, because a checkpoint was behind.
        wall: seconds until the last trial ended.
        busy: worker-seconds, start-ups and lost parts of epochs included.
        state: of each trial: ``complete``, ``pruned``, ``diverged`` or ``failed``.
        at: the epoch each trial stands at.
        picks: the trial chosen in each bracket as :meth:`studies.engine.search.Search.ranking` does, by furthest epoch,
            then value, then arrival; None where none has a finite value.
        decisions: judgements of a trial at a rung or gate.
    """

    epochs: int = 0
    again: int = 0
    wall: float = 0.0
    busy: float = 0.0
    failures: int = 0
    preemptions: int = 0
    state: list[str] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    picks: dict[str, int | None] = field(default_factory=dict)
    decisions: int = 0


def simulate(trials: Trials, scheduler: Scheduler, machine: Machine, seed: str = "") -> Outcome:
    """Run a search to its end.

    Args:
        seed: of the failures and preemptions.

    Raises:
        UsageError: interruptions so frequent that a trial would never end.
    """
    search = _Search(trials, scheduler, machine, Random(seed))
    search.run()
    return search.out


@dataclass
class _Stretch:
    """A trial on a worker, from an epoch to the next one where something is decided."""

    trial: int
    start: int
    target: int
    began: float
    startup: float


class _Search:
    def __init__(self, trials: Trials, scheduler: Scheduler, machine: Machine, random: Random):
        n = len(trials)
        self._trials, self._scheduler, self._machine, self._random = trials, scheduler, machine, random
        self.out = Outcome(state=["waiting"] * n, at=[0] * n)
        self._saved, self._starts, self._failed = [0] * n, [0] * n, [0] * n
        self._again: deque[tuple[int, int]] = deque()
        self._free, self._clock, self._events = machine.workers, 0.0, 0
        # (time, number, what happens, stretch): the number breaks ties, so equal times keep the order of starting
        self._queue: list[tuple[float, int, str, _Stretch]] = []

    def run(self) -> None:
        self._assign()
        while self._queue:
            self._clock, _, what, stretch = heapq.heappop(self._queue)
            self.out.busy += self._clock - stretch.began
            if what == "reached":
                self._reached(stretch)
            else:
                self._interrupted(stretch, what)
            self._assign()
        self.out.wall = self._clock
        self.out.decisions = self._scheduler.decisions
        self.out.picks = self._picks()

    def _assign(self) -> None:
        while self._free:
            work = self._again.popleft() if self._again else self._scheduler.next()
            if work is None:
                return
            trial, target = work
            self._free -= 1
            self._starts[trial] += 1
            if self._starts[trial] > MAX_STARTS:
                raise UsageError(
                    f"a trial was interrupted {MAX_STARTS} times before epoch {target}: with "
                    f"{self._machine.failures:g} failures and {self._machine.preemptions:g} preemptions per hour "
                    "no checkpoint is reached; lower them or --checkpoint-every"
                )
            self._train(trial, target, self._machine.startup)

    def _train(self, trial: int, target: int, startup: float) -> None:
        start, target = self.out.at[trial], min(target, self._trials.length[trial])
        end = self._clock + startup + (target - start) * self._trials.seconds[trial]
        what = "reached"
        for kind, per_hour in (("failure", self._machine.failures), ("preemption", self._machine.preemptions)):
            # drawn anew for each stretch, which a process without memory allows
            struck = self._clock + self._random.expovariate(per_hour / 3600) if per_hour else math.inf
            if struck < end:
                end, what = struck, kind
        self._events += 1
        heapq.heappush(self._queue, (end, self._events, what, _Stretch(trial, start, target, self._clock, startup)))

    def _reached(self, stretch: _Stretch) -> None:
        trial, epoch = stretch.trial, stretch.target
        self.out.epochs += epoch - stretch.start
        self.out.at[trial] = epoch
        self._saved[trial] = max(self._saved[trial], self._checkpoint(epoch))
        if self._trials.diverged[trial] and epoch == self._trials.length[trial]:
            self._scheduler.gone(trial)
            onward = None
            self.out.state[trial] = "diverged"
        else:
            onward = self._scheduler.reached(trial, epoch)
            self.out.state[trial] = "complete" if epoch == self._trials.epochs else "pruned"
        if onward is None:
            self._saved[trial] = epoch  # a trial that pauses here writes a checkpoint as it ends
            self._free += 1
        else:
            self._train(trial, onward, 0.0)

    def _interrupted(self, stretch: _Stretch, what: str) -> None:
        trial, ran = stretch.trial, self._clock - stretch.began - stretch.startup
        done = min(int(max(ran, 0.0) / self._trials.seconds[trial]), stretch.target - stretch.start)
        saved = max(self._saved[trial], self._checkpoint(stretch.start + done))
        self.out.epochs += done
        self.out.again += stretch.start + done - saved
        self.out.at[trial] = self._saved[trial] = saved
        self._free += 1
        if what == "preemption":
            self.out.preemptions += 1
        else:
            self.out.failures += 1
            self._failed[trial] += 1
        if self._failed[trial] > self._machine.retries:
            self.out.state[trial] = "failed"
            self._scheduler.gone(trial)
        else:
            self._again.append((trial, stretch.target))

    def _checkpoint(self, epoch: int) -> int:
        """The last epoch up to ``epoch`` at which one is written."""
        return (
            epoch
            if epoch == self._trials.epochs
            else epoch // self._machine.checkpoint_every * self._machine.checkpoint_every
        )

    def _picks(self) -> dict[str, int | None]:
        best: dict[str, tuple[int, float]] = {}
        picks: dict[str, int | None] = dict.fromkeys(self._trials.brackets)
        for trial, state in enumerate(self.out.state):
            bracket, value = self._trials.brackets[trial], self._trials.value(trial, self.out.at[trial])
            rank = (self.out.at[trial], value)
            if (
                state in ("complete", "pruned")
                and math.isfinite(value)
                and (bracket not in best or rank > best[bracket])
            ):
                best[bracket], picks[bracket] = rank, trial
        return picks
