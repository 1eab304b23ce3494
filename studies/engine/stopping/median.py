"""The median rule (Golovin et al., Google Vizier, 2017), on the values at the rung itself."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from studies.engine.stopping.face import GO, STOP, Judgement, Rule

FEWEST = 4
"""Values at a rung below which everybody goes on: the median of three is one trial's luck."""


class Median(Rule):
    """A trial stops if its value is below the median at one of the rungs grace, 2 grace, 3 grace ... of the first half.

    It is judged once, as it arrives, among those that are there.
    """

    says = "stops the lower half"
    takes = ("grace",)

    def epochs_judged(self) -> tuple[int, ...]:
        return tuple(range(self.grace, self.epochs // 2 + 1, self.grace))

    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        if len(ranked) < FEWEST:
            return Judgement(GO)
        middle = median(ranked)
        return Judgement(GO if own >= middle else STOP, middle)

    @property
    def share(self) -> float:
        return 0.5

    @property
    def standard(self) -> str:
        return "above the median"
