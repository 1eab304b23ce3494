"""Asynchronous successive halving, stop-only (ASHA, arXiv 1810.05934), as a function of values on record.

At a rung (an epoch) a trial continues if fewer than max(1, n // eta) of the n values at that rung, its own
among them, are better; so the first always continues and afterwards about one in eta does. A value that is
missing or not finite is worse than any other. Values are ranked within a bracket: a level of the strata (the study
compares the best of each, so none may starve another), and with several brackets, a first rung (Hyperband, arXiv
1603.06560): ``<level>/1`` starts at the second rung.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field


def rung_epochs(grace: int, eta: int, max_epochs: int) -> tuple[int, ...]:
    """grace * eta^k in the first half of ``max_epochs``, in whole numbers: 3, 9 for (3, 3, 30).

    A rung in the second half (27 of 30) would take a trial's full-length value, which the choice of the best
    arm and the sampler need, to save fewer epochs than it had cost.
    """
    rungs = []
    while 2 * grace <= max_epochs:
        rungs.append(grace)
        grace *= eta
    return tuple(rungs)


def bracket_name(group: str, number: int, brackets: int) -> str:
    """Bracket of trial ``number`` of a group, counted within the group: they take turns."""
    turn = number % brackets
    return f"{group}/{turn}" if turn else group


@dataclass(frozen=True)
class RungDecision:
    """Inputs and outcome of one decision.

    Attributes:
        cutoff: the worst value that would have continued, None while every value would.
        peers: how many values it was ranked among, the trial's own included.
    """

    rung: int
    value: float | None
    cutoff: float | None
    peers: int
    stop: bool


@dataclass
class Halving:
    """Values at the rungs, and who continues."""

    rungs: tuple[int, ...]
    eta: int
    _values: dict[tuple[str, int], dict[int, float]] = field(default_factory=dict)
    # the same values in order, worst first: a decision then costs a search, not a sort of the rung
    _ranked: dict[tuple[str, int], list[float]] = field(default_factory=dict)

    def rungs_of(self, bracket: str) -> tuple[int, ...]:
        """The rungs at which trials of a bracket are judged."""
        _, slash, turn = bracket.rpartition("/")
        return self.rungs[int(turn) if slash else 0 :]

    def due(self, bracket: str, trial: int, epoch: int) -> int | None:
        """The highest rung at or below ``epoch`` where the trial has no value yet, if it is above all it has."""
        rungs = self.rungs_of(bracket)
        open_rungs = [rung for rung in rungs if rung <= epoch and trial not in self._values.get((bracket, rung), {})]
        done = [rung for rung in rungs if trial in self._values.get((bracket, rung), {})]
        return open_rungs[-1] if open_rungs and open_rungs[-1] > max(done, default=0) else None

    def put(self, bracket: str, trial: int, rung: int, value: float | None) -> None:
        """Note a value without deciding, when a study is rebuilt from its record."""
        values, ranked = self._values.setdefault((bracket, rung), {}), self._ranked.setdefault((bracket, rung), [])
        if trial in values:
            ranked.pop(bisect_left(ranked, values[trial]))
        values[trial] = value if value is not None and math.isfinite(value) else -math.inf
        insort(ranked, values[trial])

    def decide(self, bracket: str, trial: int, rung: int, value: float | None, lag: int = 0) -> RungDecision:
        """Note a trial's value at a rung and say whether it stops there.

        Args:
            lag: 0 ranks among all values there now. Otherwise only among trials numbered ``trial - lag`` or below,
                which all ended before this one was suggested: the outcome then does not depend on who came first.
        """
        self.put(bracket, trial, rung, value)
        own, ranked = self._values[bracket, rung][trial], self._ranked[bracket, rung]
        if lag:
            ranked = sorted(v for t, v in self._values[bracket, rung].items() if t <= trial - lag or t == trial)
        keep = max(1, len(ranked) // self.eta)
        better = len(ranked) - bisect_right(ranked, own)
        cutoff = ranked[-keep] if len(ranked) > keep and math.isfinite(ranked[-keep]) else None
        stop = better >= keep or not math.isfinite(own)
        return RungDecision(rung, value if math.isfinite(own) else None, cutoff, len(ranked), stop)
