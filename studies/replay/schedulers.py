"""The strategies compared: which trial trains next and to which epoch, and who continues.

A strategy sees what a study sees: values at the epochs it asked for, in the order in which they come in. NaN is
worst. A trial that diverged has no value at any rung (as in :class:`studies.engine.jobs.Jobs`), one that failed was not
run. Every strategy ranks within a bracket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from studies.engine.stopping import GO, Ladder, Rule
from studies.engine.stopping.gate import Gate
from studies.engine.stopping.ladder import bracket_name
from studies.replay.options import RULED
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


class Ruled:
    """A stopping rule of the study's own (:mod:`studies.engine.stopping`), asked as a study asks it."""

    def __init__(self, trials: Trials, rule: Rule):
        self._trials, self.decisions = trials, 0
        self.ladder = Ladder(rule, len(trials))
        turns: Counter[str] = Counter()
        self._brackets: list[str] = []
        for group in trials.brackets:
            self._brackets.append(bracket_name(group, rule.bracket(turns[group])))
            turns[group] += 1
        self._started = 0

    def next(self) -> tuple[int, int] | None:
        if (found := self.ladder.promotable()) is not None:
            bracket, trial, decision = found
            self.decisions += 1
            self.ladder.promote(bracket, trial, decision.rung)
            return trial, self._after(trial, decision.rung)
        if self._started == len(self._trials):
            return None
        trial, self._started = self._started, self._started + 1
        self.ladder.unsuggested = len(self._trials) - self._started
        self.ladder.enter(self._brackets[trial], trial)
        return trial, self._after(trial, 0)

    def reached(self, trial: int, epoch: int) -> int | None:
        rung = self.ladder.due(self._brackets[trial], trial, epoch)
        if rung is None:
            self._leave(trial)
            return None  # the end
        self.decisions += 1
        decision = self.ladder.decide(self._brackets[trial], trial, rung, self._trials.value(trial, rung))
        if decision.stop:
            self._leave(trial)
        else:
            self._settle()
        return self._after(trial, rung) if decision.verdict == GO else None

    def gone(self, trial: int) -> None:
        self._leave(trial)  # a trial without a value at a rung is not a peer there

    def _leave(self, trial: int) -> None:
        self.ladder.leave(self._brackets[trial], trial)
        self._settle()

    def _settle(self) -> None:
        for bracket, number, _ in list(self.ladder.hopeless()):
            self.decisions += 1
            self.ladder.leave(bracket, number)

    def _after(self, trial: int, epoch: int) -> int:
        rungs = self.ladder.rungs_of(self._brackets[trial])
        return next((rung for rung in rungs if rung > epoch), self._trials.epochs)


class OneGate(Gate):
    """One gate, wherever it is asked for, a late one too."""

    def epochs_judged(self) -> tuple[int, ...]:
        return (self.grace,)


class TopK(OneGate):
    """Everyone for ``grace`` epochs, then the best k to the end: the usual shortcut, as a measure of the others."""

    def __init__(self, epochs: int, grace: int, k: int):
        super().__init__(epochs, grace)
        self._k = k

    def keep(self, arrived: int) -> int:
        return self._k


_CALLED = {"asha": "ASHA", "asha-stop": "stop-only ASHA", "hyperband": "Hyperband"}


class Strategy:
    """A named way to make a scheduler for an order.

    Attributes:
        kind: one of ``full``, ``top-k``, ``gate`` and the names of :data:`RULED`.
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
        kinds: of ``full``, ``top-k``, ``gate`` and the names of :data:`RULED`.
        etas, graces: of the rules, as far as they heed them; a gate keeps the best 1/eta.
        gates: epochs of the single gates.
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
        found += [
            Strategy("top-k", f"one-epoch top-{k}", (1,), lambda t, k=k: Ruled(t, TopK(epochs, 1, k))) for k in top
        ]
    for gate in gates if "gate" in kinds else ():
        if gate >= epochs:
            raise UsageError(f"{gate_option} {gate}: must be below {epochs}, the full length of these runs")
        for eta in etas:
            name = f"gate at {gate}, best 1/{eta}"
            found.append(Strategy("gate", name, (gate,), lambda t, g=gate, e=eta: Ruled(t, OneGate(epochs, g, e))))
    for kind in RULED:
        found += _ruled(kind, epochs, graces, etas) if kind in kinds else []
    return found


def _ruled(kind: str, epochs: int, graces: tuple[int, ...], etas: tuple[int, ...]) -> list[Strategy]:
    make, found = RULED[kind], []
    for grace in graces:
        for eta in etas if "eta" in make.takes else etas[:1]:
            rule = make(epochs, grace, eta)
            if not rule.rungs:
                raise UsageError(
                    f"--grace {grace}: no rung lies in the first half of {epochs} epochs, so nothing would be decided"
                )
            heeded = f" eta {eta}" if "eta" in make.takes else ""
            name = f"{_CALLED.get(kind, kind)}{heeded}, rungs {', '.join(map(str, rule.rungs))}"
            found.append(Strategy(kind, name, rule.rungs, lambda t, g=grace, e=eta: Ruled(t, make(epochs, g, e))))
    return found
