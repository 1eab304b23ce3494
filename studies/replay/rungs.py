"""Is the ranking of the arms at an early epoch that of the end? Rank correlations with bootstrap intervals over arms.

And is it still a ranking of what was learnt? Probe scores can dip below their untrained start before they rise, and a
trial stopped in its dip is stopped for being early, not for being bad.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from studies.replay.trials import Pool

MIN_ARMS = 10
"""Fewer arms give no verdict, however narrow the interval."""
VALID_FROM = 0.6
"""Spearman's rho from which an early ranking is trusted to stop trials: a rule of thumb, not a theorem."""


@dataclass(frozen=True)
class Rung:
    """How the values at one epoch rank against those at the end.

    Attributes:
        rho, tau: Spearman's rho and Kendall's tau-b; NaN where one side is constant.
        rho_low, rho_high, tau_low, tau_high: 95 % percentile intervals; NaN where they cannot be had.
        best_rank: where the best at the end stands at this epoch, 1 being first.
        below_start: part of the runs whose value lies below their own at epoch 0; NaN where none has both.
        best_below_start: the same of the best quarter at the end.
        verdict: the answer to "is a gate here valid?".
    """

    epoch: int
    arms: int
    rho: float
    rho_low: float
    rho_high: float
    tau: float
    tau_low: float
    tau_high: float
    best_rank: int
    below_start: float
    best_below_start: float
    verdict: str


def rung(pool: Pool, epoch: int, seed: int, resamples: int = 1000) -> Rung:
    """Compare an epoch with the end over all recorded runs; a value that is not finite ranks last.

    Args:
        seed: of the bootstrap, which draws arms (with all their runs) with replacement.
    """
    early, late = (np.where(np.isfinite(values), values, -np.inf) for values in (pool.values[:, epoch], pool.final))
    random = np.random.default_rng([seed, epoch])
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([pool.arms[arm] for arm in random.integers(len(pool.arms), size=len(pool.arms))])
        drawn.append(correlations(early[rows], late[rows]))
    rho, tau = correlations(early, late)
    (rho_low, tau_low), (rho_high, tau_high) = _percentiles(np.array(drawn)).tolist()
    best_rank = 1 + int((early > early[late.argmax()]).sum())
    return Rung(
        epoch,
        len(pool.arms),
        rho,
        rho_low,
        rho_high,
        tau,
        tau_low,
        tau_high,
        best_rank,
        below_start(pool, epoch, np.isfinite(pool.final)),
        below_start(pool, epoch, _best_quarter(pool.final)),
        verdict(len(pool.arms), rho_low, rho_high),
    )


def below_start(pool: Pool, epoch: int, among: np.ndarray) -> float:
    """Part of the runs ``among`` all whose value at an epoch lies below their own at epoch 0."""
    now, start = pool.values[among, epoch], pool.values[among, 0]
    known = np.isfinite(now) & np.isfinite(start)
    return float((now < start)[known].mean()) if known.any() else math.nan


def _best_quarter(final: np.ndarray) -> np.ndarray:
    finite = np.isfinite(final)
    return final >= (np.quantile(final[finite], 0.75) if finite.any() else math.inf)


def correlations(early: np.ndarray, late: np.ndarray) -> tuple[float, float]:
    """Spearman's rho and Kendall's tau-b; NaN where one side is constant. Infinite values rank as such."""
    a, b = stats.rankdata(early), stats.rankdata(late)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(np.corrcoef(a, b)[0, 1]), float(stats.kendalltau(a, b).statistic)


def verdict(arms: int, low: float, high: float) -> str:
    """``valid``, ``not valid`` or ``cannot tell with n arms``, from the interval of Spearman's rho."""
    if arms < MIN_ARMS or not math.isfinite(low):
        return f"cannot tell with {arms} arms"
    if low >= VALID_FROM:
        return "valid"
    return "not valid" if high < VALID_FROM else f"cannot tell with {arms} arms"


def _percentiles(drawn: np.ndarray) -> np.ndarray:
    """(2, 2): lower and upper bounds of each column; NaN unless at least half of the resamples gave a number."""
    there = drawn[~np.isnan(drawn).any(axis=1)]
    if 2 * len(there) < len(drawn) or not len(there):
        return np.full((2, 2), np.nan)
    return np.percentile(there, [2.5, 97.5], axis=0)
