"""Means and paired differences over seeds, with 95 % t intervals.

Everything takes plain numbers; NaN and None mean "missing", are left out, and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Fewer seeds than this give no verdict, whatever the interval says."""
MAX_SEEDS = 1000
NO_VERDICT = f"no verdict: n<{MIN_SEEDS}"
NOT_RESOLVED = "not resolved"

_NAN = float("nan")


@dataclass(frozen=True)
class Mean:
    """Mean and half-width of its 95 % t interval (NaN below ``MIN_SEEDS``); ``missing`` values were left out."""

    mean: float
    half: float
    n: int
    missing: int


@dataclass(frozen=True)
class Difference:
    """Mean of the differences a - b over the seeds that both arms have.

    Attributes:
        low, high: 95 % t interval, NaN below ``MIN_SEEDS`` pairs: with two it would be 9 standard deviations wide.
        sd: standard deviation of the differences, n - 1 in the denominator (NaN for n < 2).
        n: pairs used.
        dropped: seeds of either arm that gave no pair, because a value is missing on one side.
        p: two-sided p of the paired t test, NaN below ``MIN_SEEDS`` pairs.
        resolved: at least ``MIN_SEEDS`` pairs and an interval that excludes 0.
        seeds_needed: see ``seeds_needed``.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int
    dropped: int
    p: float
    resolved: bool
    seeds_needed: int | None

    def verdict(self, more: str = "better", less: str = "worse") -> str:
        """One of ``more``, ``less``, ``NOT_RESOLVED`` and ``NO_VERDICT``."""
        if self.n < MIN_SEEDS:
            return NO_VERDICT
        if not self.resolved:
            return NOT_RESOLVED
        return more if self.mean > 0 else less


def mean_interval(values: Iterable[float | None]) -> Mean:
    """Mean of the values that are there, with its 95 % t interval."""
    everything = list(values)
    given = [float(value) for value in everything if _there(value)]
    n = len(given)
    mean, sd = _moments(given)
    return Mean(mean, _t_quantile(n) * sd / math.sqrt(n) if n >= MIN_SEEDS else _NAN, n, len(everything) - n)


def paired(a: Mapping[int, float | None], b: Mapping[int, float | None]) -> Difference:
    """Compare two arms, each given as {seed: value}, on their common seeds."""
    seeds = sorted(set(a) | set(b))
    pairs = [(a.get(seed), b.get(seed)) for seed in seeds]
    differences = [float(x) - float(y) for x, y in pairs if _there(x) and _there(y)]
    n = len(differences)
    mean, sd = _moments(differences)
    if n < MIN_SEEDS:
        return Difference(mean, _NAN, _NAN, sd, n, len(seeds) - n, _NAN, False, seeds_needed(mean, sd))
    error = sd / math.sqrt(n)
    low, high = mean - _t_quantile(n) * error, mean + _t_quantile(n) * error
    return Difference(mean, low, high, sd, n, len(seeds) - n, _p(mean, error, n), low > 0 or high < 0, seeds_needed(mean, sd))


def seeds_needed(mean: float, sd: float) -> int | None:
    """Smallest n >= ``MIN_SEEDS`` whose 95 % interval would exclude 0, were mean and s.d. to stay as observed.

    None if that takes more than ``MAX_SEEDS`` or cannot be said (no spread known, a mean of 0).
    """
    if not (math.isfinite(mean) and math.isfinite(sd)) or mean == 0:
        return None
    for n in range(MIN_SEEDS, MAX_SEEDS + 1):
        if _t_quantile(n) * sd / math.sqrt(n) < abs(mean):
            return n
    return None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values in the given order; NaN stays NaN and does not count as a comparison."""
    order = sorted((p, index) for index, p in enumerate(p_values) if _there(p))
    adjusted = [_NAN] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[index] = largest
    return adjusted


def _there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _moments(values: list[float]) -> tuple[float, float]:
    n = len(values)
    mean = math.fsum(values) / n if n else _NAN
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else _NAN
    return mean, sd


def _t_quantile(n: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))


def _p(mean: float, error: float, n: int) -> float:
    if error == 0:  # the same difference on every seed: the limit of the test, not an error
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))
