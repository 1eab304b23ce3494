"""The smallest difference that paired seeds resolve: one formula, for a study's plan and for its verdict.

A declared contrast is resolved by a paired t test at the level at which Holm's rule reaches it: the strictest where
nothing else is resolved before it, the usual one where it is the last that is left.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Fewer seeds than this give no verdict, whatever the interval says."""
MAX_SEEDS = 1000
MOST_SEEDS = 100
"""That one study may have."""
POWER = 0.8
"""Part of the studies that resolve a true difference which is called resolvable."""


def step(left: int, looks: int = 1) -> float:
    """Significance level at which Holm's rule decides while ``left`` contrasts are undecided.

    Args:
        looks: how often the study may look at its contrasts, see :mod:`trainer.record.looks`.
    """
    return (1 - CONFIDENCE) / max(1, left) / looks


@lru_cache(maxsize=4096)
def detectable(n: int, level: float, power: float = POWER) -> float:
    """The true difference, in s.d. of the paired differences, that a t test of ``n`` pairs resolves with ``power``.

    NaN below two pairs, which have no spread.
    """
    if n < 2:
        return math.nan
    critical = _root(lambda t: _beyond(t, 0.0, n - 1) - level / 2, falling=True)
    # the other tail is below 1e-4 from a power of a half on
    return _root(lambda shift: _beyond(critical, shift, n - 1) - power) / math.sqrt(n)


def _beyond(t: float, shift: float, df: int) -> float:
    """P(T > t) of Student's noncentral t: the normal tail averaged over s, the root of a chi-square over its degrees
    of freedom. Written out because scipy takes half a second to import, most of what --dry-run may take."""
    most, points = 1 + 12 / math.sqrt(2 * df), 800
    scale = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    total = 0.0
    for k in range(1, points):
        s = most * (k / points) ** 3  # close to 0, where few degrees of freedom have their tail
        density = math.exp(scale + (df - 1) * math.log(s) - df * s * s / 2)
        total += density * math.erfc((t * s - shift) / math.sqrt(2)) / 2 * 3 * (k / points) ** 2
    return total * most / points


def _root(function: Callable[[float], float], falling: bool = False) -> float:
    low, high = 0.0, 1.0
    while (function(high) > 0) == falling:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if (function(middle) > 0) == falling else (low, middle)
    return (low + high) / 2


def seeds_for(difference: float, sd: float, level: float, power: float = POWER) -> int | None:
    """Smallest n >= ``MIN_SEEDS`` that resolves a true difference with ``power``.

    None if that takes more than ``MAX_SEEDS`` or cannot be said (no spread known, a difference of 0).
    """
    if not (math.isfinite(difference) and math.isfinite(sd)) or difference == 0 or sd <= 0:
        return None
    candidates = range(MIN_SEEDS, MAX_SEEDS + 1)
    first = bisect_left(candidates, True, key=lambda n: detectable(n, level, power) * sd <= abs(difference))
    return candidates[first] if first < len(candidates) else None
