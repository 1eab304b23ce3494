"""What a stopping rule is: who goes on at a rung, from the values that stand there.

A rung is an epoch at which trials are judged. Values are compared within a bracket: a level of the strata (the study
compares the best of each, so none may starve another), and, with several brackets, a first rung.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

GO, WAIT, STOP = "go", "wait", "stop"


@dataclass(frozen=True)
class Judgement:
    """What becomes of a trial at a rung.

    Attributes:
        verdict: ``go``, ``stop``, or ``wait``: it gives up its place, keeps its checkpoint, and is judged again
            whenever something may have changed.
        cutoff: the worst value that would go on now, None while every value would.
    """

    verdict: str
    cutoff: float | None = None


class Rule(ABC):
    """A stopping rule. It keeps nothing: the values on record are all it knows, so a restarted driver decides alike.

    Args:
        epochs: full length of a run.
        grace: the first rung, an epoch.
        eta: about one in so many goes on at each rung.
        brackets: how many first rungs trials take turns in.

    Attributes:
        says: what it does, behind its name in ``--help``.
        takes: which of the last three it heeds; another one given on the command line is refused.
        usual: their values where the command line gives none.
        waits: whether it may answer ``wait``.
        in_order: whether its outcome does not depend on who arrives first, as ``--deterministic`` needs. A rule that
            never waits is then asked about the trials before each one only.
    """

    says: ClassVar[str] = "is a rule of this study"
    takes: ClassVar[tuple[str, ...]] = ("grace", "eta")
    # every recorded run scores below its untrained start at epoch 1; from epoch 4 on nine in ten are above it on the
    # rotation set, on which this was chosen, and half to two thirds on the other two; with eta 3 the rungs are 4 and 12
    # of 30 (replay/README.md)
    usual: ClassVar[dict[str, int]] = {"grace": 4, "eta": 3, "brackets": 1}
    waits: ClassVar[bool] = False
    in_order: ClassVar[bool] = True

    def __init__(self, epochs: int, grace: int | None = None, eta: int | None = None, brackets: int | None = None):
        usual = {**Rule.usual, **self.usual}
        self.epochs = epochs
        self.grace = usual["grace"] if grace is None else grace
        self.eta = usual["eta"] if eta is None else eta
        self.rungs = self.epochs_judged()
        self.brackets = (usual["brackets"] or max(1, len(self.rungs))) if brackets is None else brackets

    def epochs_judged(self) -> tuple[int, ...]:
        """The rungs: epochs at which trials are judged, ascending; by default grace * eta^k in the first half.

        A rung in the second half (27 of 30) would take a trial's full-length value, which the choice of the best arm
        and the sampler need, to save fewer epochs than it had cost.
        """
        found, rung = [], self.grace
        while 2 * rung <= self.epochs:
            found.append(rung)
            rung *= self.eta
        return tuple(found)

    def bracket(self, number: int) -> int:
        """Bracket of the ``number``-th trial of a group; trials of bracket b are judged from the b-th rung on."""
        return number % self.brackets

    @abstractmethod
    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        """Judge a trial at a rung, as it arrives or while it waits there.

        A better place must never fare worse: of several that wait, the best is asked first.

        Args:
            ranked: the values at the rung, the trial's own among them, worst first; -inf for one that is not finite.
            own: the trial's; where it is not finite the trial stops, whatever the answer.
            place: of the trial, 1 for the best; equal values in the order of the trials' numbers.
            to_come: how many trials of the bracket may still arrive at the rung, those not suggested yet included
                (an upper bound); at 0 a trial may no longer wait.
        """

    @property
    def share(self) -> float:
        """About which part goes on at each rung, for estimates of epochs and time."""
        return 1 / self.eta

    @property
    def standard(self) -> str:
        """What a stopped trial failed to be, as in "not <standard> of 12 trials at epoch 4"."""
        return f"among those that {type(self).__name__} keeps"


class TopShare(Rule):
    """A rule that keeps one in eta of those that it compares."""

    @property
    def standard(self) -> str:
        return f"in the top 1/{self.eta}"


def top(ranked: Sequence[float], place: int, keep: int, otherwise: str) -> Judgement:
    """``go`` for the best ``keep``, else ``otherwise``."""
    return Judgement(GO if place <= keep else otherwise, cutoff(ranked, keep))


def cutoff(ranked: Sequence[float], keep: int) -> float | None:
    """The worst of the best ``keep`` values; None while all go on, or where it is not finite."""
    return ranked[-keep] if 0 < keep < len(ranked) and ranked[-keep] > float("-inf") else None
