"""Means and paired differences over seeds, with 95 % t intervals.

Everything takes plain numbers; NaN and None mean "missing", are left out, and are counted. No words are made here: what
a difference allows to be said depends on all that were declared with it (``family``).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

from trainer.record.resolvable import CONFIDENCE, MAX_SEEDS, MIN_SEEDS

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
        sd: standard deviation of the differences, n - 1 in the denominator (NaN for n < 2).
        spread: the same, but at least what the rounding of the metric alone does; intervals and p rest on it.
        n: pairs used.
        dropped: seeds of either arm that gave no pair, because a value is missing on one side.
        p: two-sided p of the paired t test, NaN below ``MIN_SEEDS`` pairs. 1 where no spread is known at all.
        above: share of the pairs in which a is above b, a tie counting half; NaN below ``MIN_SEEDS`` pairs.
    """

    mean: float
    sd: float
    spread: float
    n: int
    dropped: int
    p: float
    above: float = _NAN

    @property
    def effect(self) -> float:
        """Mean in units of ``spread`` (Cohen's d of paired differences), NaN below ``MIN_SEEDS`` pairs or without a
        spread: of two seeds that happen to agree it would be in the hundreds."""
        return self.mean / self.spread if self.n >= MIN_SEEDS and self.spread > 0 else _NAN

    def half(self, level: float = 1 - CONFIDENCE) -> float:
        """Half of the 1 - ``level`` t interval, NaN below ``MIN_SEEDS`` pairs: with two it would be 9 s.d. wide."""
        return _t_quantile(self.n, level) * self.spread / math.sqrt(self.n) if self.n >= MIN_SEEDS else _NAN

    def interval(self, level: float = 1 - CONFIDENCE) -> tuple[float, float]:
        return self.mean - self.half(level), self.mean + self.half(level)


def mean_interval(values: Iterable[float | None]) -> Mean:
    """Mean of the values that are there, with its 95 % t interval."""
    everything = list(values)
    given = [float(value) for value in everything if _there(value)]
    n = len(given)
    mean, sd = _moments(given)
    half = _t_quantile(n, 1 - CONFIDENCE) * sd / math.sqrt(n) if n >= MIN_SEEDS else _NAN
    return Mean(mean, half, n, len(everything) - n)


def paired(a: Mapping[int, float | None], b: Mapping[int, float | None], step: float = 0.0) -> Difference:
    """Compare two arms, each given as {seed: value}, on their common seeds.

    Args:
        step: resolution of the metric. A value in steps is off by up to half a step: seeds that agree better than that
            do so by the rounding, and their s.d. is not believed.
    """
    seeds = sorted(set(a) | set(b))
    pairs = [(a.get(seed), b.get(seed)) for seed in seeds]
    differences = [float(x) - float(y) for x, y in pairs if _there(x) and _there(y)]
    n = len(differences)
    mean, sd = _moments(differences)
    spread = max(sd, step / 2) if n > 1 else sd
    above = math.fsum((x > 0) + (x == 0) / 2 for x in differences) / n if n >= MIN_SEEDS else _NAN
    return Difference(mean, sd, spread, n, len(seeds) - n, _p(mean, spread, n), above)


def seeds_needed(mean: float, sd: float, level: float = 1 - CONFIDENCE) -> int | None:
    """Smallest n >= ``MIN_SEEDS`` whose 1 - ``level`` interval would exclude 0, were mean and s.d. to stay as observed.

    None if that takes more than ``MAX_SEEDS`` or cannot be said (no spread known, a mean of 0).
    """
    if not (math.isfinite(mean) and math.isfinite(sd)) or mean == 0:
        return None
    candidates = range(MIN_SEEDS, MAX_SEEDS + 1)
    # the half-width shrinks with every seed, so the numbers that suffice are an end of the range
    first = bisect_left(candidates, True, key=lambda n: _t_quantile(n, level) * sd / math.sqrt(n) < abs(mean))
    return candidates[first] if first < len(candidates) else None


def _there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _moments(values: list[float]) -> tuple[float, float]:
    n = len(values)
    mean = math.fsum(values) / n if n else _NAN
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else _NAN
    return mean, sd


def _t_quantile(n: int, level: float) -> float:
    return float(stdtrit(n - 1, 1 - level / 2))


def _p(mean: float, spread: float, n: int) -> float:
    if n < MIN_SEEDS:
        return _NAN
    if spread == 0:  # equal differences of a metric of unknown resolution: nothing tells a difference from noise
        return 1.0
    return float(2 * stdtr(n - 1, -abs(mean) / (spread / math.sqrt(n))))
