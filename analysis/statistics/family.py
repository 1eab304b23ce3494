"""What a family of declared comparisons allows to be said: the only place where verdict words are made.

A study declares a few primary contrasts before its data. They are decided together by Holm's step-down rule, so that in
a study in which nothing differs *any* of the words "better" and "worse" appears at most once in twenty times. Whatever
else is compared is exploratory: it has an interval and no word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics.paired import MIN_SEEDS, Difference, seeds_needed
from trainer.record.resolvable import detectable, step

BETTER, WORSE = "better", "worse"
NOT_RESOLVED = "not resolved"
NO_VERDICT = f"no verdict: n<{MIN_SEEDS}"
DIVERGED = "no verdict: diverged"
"""The arm that is ahead has runs that diverged. Their seeds are in no pair, so the lead is that of the runs which went
well: divergence is no missing value, and no reason to be called better."""
EXPLORATORY = "exploratory"
PENDING = "no verdict yet"
"""Planned seeds are still to end: a word at every look would be wrong more often than the family's level allows."""

_NAN = float("nan")


@dataclass(frozen=True)
class Decision:
    """What one primary contrast allows to be said.

    Attributes:
        verdict: ``BETTER``, ``WORSE``, ``NOT_RESOLVED`` or ``NO_VERDICT``.
        p_holm: p adjusted for the family, and for the looks.
        level: the significance level at which Holm's rule decides this contrast.
        low, high: the 1 - ``level`` t interval: it excludes 0 exactly when the contrast is resolved.
        resolvable: half of it: the smallest observed difference that would have been resolved at this spread and n.
        with_power: the smallest true difference that is resolved with probability ``POWER``, likewise.
        seeds_needed: see ``compare.seeds_needed``, at ``level``.
    """

    verdict: str
    p_holm: float
    level: float
    low: float
    high: float
    resolvable: float
    with_power: float
    seeds_needed: int | None


def decide(family: Sequence[Difference | None], looks: int = 1) -> list[Decision]:
    """Decide all primary contrasts of a study together.

    Args:
        family: one difference per declared contrast, higher being better; None where its arms were not run or are one.
            It counts all the same: what was declared is not made smaller by what was found.
        looks: how often the study planned to look, each time at its part of the level.
    """
    p = [1.0 if one is None or math.isnan(one.p) else one.p for one in family]
    decided: list[Decision | None] = [None] * len(family)
    largest, level, open_, before = 0.0, step(len(family), looks), True, None
    for rank, index in enumerate(sorted(range(len(family)), key=p.__getitem__)):
        left = len(family) - rank
        largest = max(largest, min(1.0, p[index] * left * looks))
        # the first contrast that is not resolved ends the steps; the rest is judged at its level, and equals at one
        if open_ and p[index] != before:
            level, before = step(left, looks), p[index]
            open_ = before < level
        decided[index] = _decision(family[index], largest, level, open_)
    return [one for one in decided if one is not None]


def _decision(found: Difference | None, p_holm: float, level: float, resolved: bool) -> Decision:
    if found is None or found.n < MIN_SEEDS:
        needed = None if found is None else seeds_needed(found.mean, found.spread, level)
        return Decision(NO_VERDICT, _NAN, level, _NAN, _NAN, _NAN, _NAN, needed)
    verdict = (BETTER if found.mean > 0 else WORSE) if resolved else NOT_RESOLVED
    half = found.half(level)
    powerful = detectable(found.n, level) * found.spread
    needed = seeds_needed(found.mean, found.spread, level)
    return Decision(verdict, p_holm, level, found.mean - half, found.mean + half, half, powerful, needed)
