"""The smallest difference that paired seeds resolve: one formula, for a study's plan and for its verdict.

A declared contrast is resolved by a paired t test at the level at which Holm's rule reaches it: the strictest where
nothing else is resolved before it, the usual one where it is the last that is left.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Fewer seeds than this give no verdict, whatever the interval says."""
MAX_SEEDS = 1000
POWER = 0.8
"""Part of the studies that resolve a true difference which is called resolvable."""


def step(left: int, looks: int = 1) -> float:
    """Significance level at which Holm's rule decides while ``left`` contrasts are undecided.

    Args:
        looks: how often the study may look at its contrasts, see :mod:`trainer.looks`.
    """
    return (1 - CONFIDENCE) / max(1, left) / looks


@lru_cache(maxsize=4096)
def detectable(n: int, level: float, power: float = POWER) -> float:
    """The true difference, in s.d. of the paired differences, that a t test of ``n`` pairs resolves with ``power``.

    NaN below two pairs, which have no spread.
    """
    from scipy.special import nctdtrinc, stdtrit  # most of a command's start; --help must not wait for it

    if n < 2:
        return math.nan
    critical = stdtrit(n - 1, 1 - level / 2)
    # the other tail is below 1e-4 from a power of a half on
    return float(nctdtrinc(n - 1, 1 - power, critical)) / math.sqrt(n)


def seeds_for(difference: float, sd: float, level: float, power: float = POWER) -> int | None:
    """Smallest n >= ``MIN_SEEDS`` that resolves a true difference with ``power``.

    None if that takes more than ``MAX_SEEDS`` or cannot be said (no spread known, a difference of 0).
    """
    if not (math.isfinite(difference) and math.isfinite(sd)) or difference == 0 or sd <= 0:
        return None
    candidates = range(MIN_SEEDS, MAX_SEEDS + 1)
    first = bisect_left(candidates, True, key=lambda n: detectable(n, level, power) * sd <= abs(difference))
    return candidates[first] if first < len(candidates) else None
