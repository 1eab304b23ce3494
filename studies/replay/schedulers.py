"""The strategies compared: which trial trains next and to which epoch, and who continues.

A strategy sees what a study sees: values at the epochs it asked for, in the order in which they come in. NaN is
worst. A trial that diverged has no value at any rung (as in :class:`studies.engine.jobs.Jobs`), one that failed was not
run. Every strategy ranks within a bracket.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from studies.engine.halving import Halving, rung_epochs
from studies.replay.trials import Trials
from trainer.errors import UsageError


class Scheduler(Protocol):
    """What the simulator asks of a strategy; one instance serves one order."""

    decisions: int

    def next(self) -> tuple[int, int] | None:
        """A trial to start (or to continue from its checkpoint) and the epoch to train it to; None if there is none
        now."""

    def reached(self, trial: int, epoch: int) -> int | None:
        """A trial got there: the epoch to go on to, without giving up its worker, or None to stop."""

    def gone(self, trial: int) -> None:
        """A trial will not get there: it diverged, or failed too often."""


class FullLength:
    """Every trial to the end: the most a search can cost, and no selection error."""

    def __init__(self, trials: Trials):
        self._trials, self._started, self.decisions = trials, 0, 0

    def next(self) -> tuple[int, int] | None:
        if self._started == len(self._trials):
            return None
        self._started += 1
        return self._started - 1, self._trials.epochs

    def reached(self, trial: int, epoch: int) -> int | None:
        return None

    def gone(self, trial: int) -> None:
        pass


class Gate:
    """Everyone to one epoch; when all are there, the best go on to the end. Values that are not finite never do.

    Args:
        keep: of how many arrived at the gate in a bracket, how many go on.
    """

    def __init__(self, trials: Trials, epoch: int, keep: Callable[[int], int]):
        self._trials, self._epoch, self._keep = trials, epoch, keep
        self._started = self._judged = self.decisions = 0
        self._arrived: dict[str, list[int]] = defaultdict(list)
        self._chosen: list[int] | None = None

    def next(self) -> tuple[int, int] | None:
        if self._started < len(self._trials):
            self._started += 1
            return self._started - 1, self._epoch
        if self._chosen is None and self._judged == len(self._trials):
            self._chosen = sorted(self._best(), reverse=True)
        return (self._chosen.pop(), self._trials.epochs) if self._chosen else None

    def reached(self, trial: int, epoch: int) -> int | None:
        if epoch == self._epoch:
            self._judged += 1
            self._arrived[self._trials.brackets[trial]].append(trial)
        return None

    def gone(self, trial: int) -> None:
        # one that goes after the gate changes nothing: the choice has been made
        self._judged += self._chosen is None

    def _best(self) -> list[int]:
        best = []
        for trials in self._arrived.values():
            self.decisions += len(trials)
            finite = [trial for trial in trials if math.isfinite(self._trials.value(trial, self._epoch))]
            finite.sort(key=lambda trial: (-self._trials.value(trial, self._epoch), trial))
            best += finite[: self._keep(len(trials))]
        return best


class Asha:
    """The study's own asynchronous halving: a trial is judged against those that were at the rung before it."""

    def __init__(self, trials: Trials, rungs: tuple[int, ...], eta: int):
        self._trials, self._rungs = trials, rungs
        self.halving = Halving(rungs, eta)
        self._started = self.decisions = 0

    def next(self) -> tuple[int, int] | None:
        if self._started == len(self._trials):
            return None
        self._started += 1
        return self._started - 1, self._after(0)

    def reached(self, trial: int, epoch: int) -> int | None:
        bracket = self._trials.brackets[trial]
        rung = self.halving.due(bracket, trial, epoch)
        if rung is None:
            return None  # the end
        self.decisions += 1
        decision = self.halving.decide(bracket, trial, rung, self._trials.value(trial, rung))
        return None if decision.stop else self._after(rung)

    def gone(self, trial: int) -> None:
        pass  # a trial without a value at a rung is not a peer there

    def _after(self, epoch: int) -> int:
        return next((rung for rung in self._rungs if rung > epoch), self._trials.epochs)


class Strategy:
    """A named way to make a scheduler for an order.

    Attributes:
        kind: ``full``, ``top-k``, ``gate`` or ``asha``.
        epochs: where it decides, before the end.
    """

    def __init__(self, kind: str, name: str, epochs: tuple[int, ...], make: Callable[[Trials], Scheduler]):
        self.kind, self.name, self.epochs, self.make = kind, name, epochs, make


def strategies(
    epochs: int,
    kinds: tuple[str, ...],
    etas: tuple[int, ...],
    graces: tuple[int, ...],
    gates: tuple[int, ...],
    top: tuple[int, ...],
    gate_option: str = "--gate",
) -> list[Strategy]:
    """All combinations asked for; all-full-length always comes first, as the measure of the others.

    Args:
        epochs: full length.
        kinds: of ``full``, ``top-k``, ``gate``, ``asha``.
        etas, graces: of ASHA; a gate keeps the best 1/eta.
        gates: epochs of the fixed gates.
        top: how many go on after one epoch.
        gate_option: what the gates were given by, for messages.

    Raises:
        UsageError: a value that leaves nothing to decide.
    """
    for option, values, least in (
        ("--eta", etas, 2),
        ("--grace", graces, 1),
        (gate_option, gates, 1),
        ("--top-k", top, 1),
    ):
        for value in values:
            if value < least:
                raise UsageError(f"{option} {value}: must be at least {least}")
    found = [Strategy("full", "all full length", (), FullLength)]
    if "top-k" in kinds:
        if epochs < 2:
            raise UsageError(f"{epochs} epoch is the full length of these runs: one epoch cannot be compared with it")
        found += [Strategy("top-k", f"one-epoch top-{k}", (1,), lambda t, k=k: Gate(t, 1, lambda n: k)) for k in top]
    for gate in gates if "gate" in kinds else ():
        if gate >= epochs:
            raise UsageError(f"{gate_option} {gate}: must be below {epochs}, the full length of these runs")
        for eta in etas:
            name = f"gate at {gate}, best 1/{eta}"
            found.append(Strategy("gate", name, (gate,), lambda t, g=gate, e=eta: Gate(t, g, lambda n: max(1, n // e))))
    for grace in graces if "asha" in kinds else ():
        for eta in etas:
            rungs = rung_epochs(grace, eta, epochs)
            if not rungs:
                raise UsageError(
                    f"--grace {grace}: no rung lies in the first half of {epochs} epochs, so nothing would be decided"
                )
            name = f"ASHA eta {eta}, rungs {', '.join(map(str, rungs))}"
            found.append(Strategy("asha", name, rungs, lambda t, r=rungs, e=eta: Asha(t, r, e)))
    return found
