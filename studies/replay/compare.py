"""Many arrival orders of the same trials under each strategy: means with 95 % t intervals over the orders.

An interval here says how much the arrival order, and the failures drawn, matter for *these* trials. It says nothing
about other arms; for that, replay other studies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from studies.replay.schedulers import Strategy
from studies.replay.simulate import Machine, Outcome, simulate
from studies.replay.trials import Pool, Trials

CONFIDENCE = 0.95
MIN_ORDERS = 3
"""Fewer orders give no interval."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % t interval, NaN below ``MIN_ORDERS`` values; NaN values are left out."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Interval:
        values = np.asarray(values, float)
        values = values[~np.isnan(values)]
        mean = float(values.mean()) if len(values) else math.nan
        if len(values) < MIN_ORDERS:
            return cls(mean, math.nan, math.nan)
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class After:
    """What follows every search, whatever the strategy: full-length runs of the race and on the seed list.

    Attributes:
        arms: arms confirmed.
        twins: references of these; a study gives one to each level's best.
        controls: arms run as controls.
        seeds: runs of each.
        race: runs before that.

    The defaults are those of ``studies/step2_rate.py``: the best three of two levels race on one seed, and each
    level's winner is compared with its reference.
    """

    arms: int = 2
    twins: int = 2
    controls: int = 1
    seeds: int = 4
    race: int = 6

    @property
    def runs(self) -> int:
        return self.race + (self.arms + self.twins + self.controls) * self.seeds

    def wall(self, epochs: int, seconds: float, machine: Machine) -> float:
        """Seconds for these runs in rounds of one per worker, without failures."""
        return math.ceil(self.runs / machine.workers) * (machine.startup + epochs * seconds) if self.runs else 0.0


@dataclass(frozen=True)
class Replayed:
    """One strategy over all orders; arrays are (orders,).

    Attributes:
        epochs: of the search alone, those trained again included.
        wall: seconds of the search alone.
        after_epochs, after_wall: to be added for controls and confirmation.
        regret: best full-length value among the trials minus that of the trial picked, NaN where none was; with
            brackets, the mean of theirs, as a study compares the best of each. A pick that diverged later counts as the
            worst finite value.
        found: whether the best was picked, in every bracket (regret 0).
    """

    strategy: Strategy
    epochs: np.ndarray
    again: np.ndarray
    wall: np.ndarray
    busy: np.ndarray
    failures: np.ndarray
    preemptions: np.ndarray
    not_run: np.ndarray
    decisions: np.ndarray
    regret: np.ndarray
    found: np.ndarray
    after_epochs: int
    after_wall: np.ndarray

    @property
    def unpicked(self) -> int:
        """Orders in which nothing could be picked."""
        return int(np.isnan(self.regret).sum())


def replay(
    pool: Pool,
    compared: list[Strategy],
    machine: Machine,
    *,
    orders: int,
    seed: int,
    trials: int | None = None,
    noise: float | None = None,
    after: After | None = None,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Replayed]:
    """Every strategy on the same ``orders`` random arrival orders.

    Args:
        seed: of orders, failures and noise; equal arguments give equal results.
        trials: per order, drawn from the arms on record (None: all of them).
        noise: None for recorded curves; otherwise ``trials`` synthetic ones, see :meth:`Pool.resample`.
        after: controls and confirmation.
        watch: wraps the orders, for a progress bar.
    """
    after = after or After()
    rows: list[list[tuple[float, ...]]] = [[] for _ in compared]
    for order in watch(range(orders)):
        random = np.random.default_rng([seed, order])
        drawn = pool.draw(random, trials) if noise is None else pool.resample(random, trials or len(pool.arms), noise)
        rest = after.wall(drawn.epochs, float(np.mean(drawn.seconds)), machine)
        for strategy, row in zip(compared, rows, strict=True):
            outcome = simulate(drawn, strategy.make(drawn), machine, f"{seed}/{order}")
            row.append((*_numbers(outcome), regret(drawn, outcome.picks), rest))
    return [
        _replayed(strategy, row, after.runs * pool.values.shape[1] - after.runs)
        for strategy, row in zip(compared, rows, strict=True)
    ]


def regret(trials: Trials, picks: dict[str, int | None]) -> float:
    """Best full-length value minus that of the pick, on average over brackets; NaN if one of them has no pick."""
    lost = []
    for bracket, pick in picks.items():
        truth = trials.truth[[of == bracket for of in trials.brackets]]
        finite = truth[np.isfinite(truth)]
        if pick is None or not len(finite):
            return math.nan
        value = trials.truth[pick]
        lost.append(finite.max() - (value if math.isfinite(value) else finite.min()))
    return float(np.mean(lost))


def _numbers(o: Outcome) -> tuple[float, ...]:
    return o.epochs, o.again, o.wall, o.busy, o.failures, o.preemptions, o.state.count("failed"), o.decisions


def _replayed(strategy: Strategy, rows: list[tuple[float, ...]], after_epochs: int) -> Replayed:
    *counts, lost, rest = (np.array(column, float) for column in zip(*rows, strict=True))
    return Replayed(strategy, *counts, lost, np.where(np.isnan(lost), np.nan, lost == 0), after_epochs, rest)
