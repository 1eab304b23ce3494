"""The trials of one simulated search, in their order of arrival: recorded curves, or copies of them with noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from studies.replay.curves import Recorded

NOISE = 0.25
"""Default noise of resampled curves: this part of the standard deviation of the full-length values on record."""


@dataclass(frozen=True)
class Trials:
    """Trials by order of arrival.

    Attributes:
        values: (n, epochs + 1) metric by epoch; NaN is worst.
        length: epochs until a trial ends by itself.
        diverged: whether it ends by diverging.
        seconds: per epoch.
        truth: (n,) full-length value of each trial's arm (the mean over its runs on record); NaN is worst.
    """

    values: np.ndarray
    length: list[int]
    diverged: list[bool]
    seconds: list[float]
    brackets: list[str]
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.length)

    @property
    def epochs(self) -> int:
        return self.values.shape[1] - 1

    def value(self, trial: int, epoch: int) -> float:
        """The metric after an epoch; NaN is worst."""
        return float(self.values[trial, epoch])


class Pool:
    """Curves as one table, from which arrival orders are drawn.

    Args:
        seconds_per_epoch: for every trial; None takes each run's own, and the mean of the others where it is
            not on record (1 s where none is).
    """

    def __init__(self, recorded: Recorded, seconds_per_epoch: float | None = None):
        curves = recorded.curves
        self.values = np.full((len(curves), recorded.epochs + 1), math.nan)
        for row, curve in zip(self.values, curves, strict=True):
            row[list(curve.values)] = list(curve.values.values())
        self.length = np.array([curve.length for curve in curves])
        self.diverged = np.array([curve.diverged for curve in curves])
        self.brackets = np.array([curve.bracket for curve in curves], dtype=object)
        timed = [curve.seconds for curve in curves if curve.seconds]
        usual = sum(timed) / len(timed) if timed else 1.0
        self.untimed = seconds_per_epoch is None and not timed
        self.seconds = np.array([seconds_per_epoch or curve.seconds or usual for curve in curves])
        arms: dict[str, list[int]] = {}
        for number, curve in enumerate(curves):
            arms.setdefault(curve.arm, []).append(number)
        self.arms = list(arms.values())
        # a run without a finite end is its arm's worst case: NaN, not left out of the mean
        self.truth = np.array([self.values[arms[curve.arm], -1].mean() for curve in curves])
        finite = self.final[np.isfinite(self.final)]
        self.spread = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0

    @property
    def final(self) -> np.ndarray:
        """(runs,) full-length values."""
        return self.values[:, -1]

    def draw(self, random: np.random.Generator, number: int | None = None) -> Trials:
        """A random order of the arms (or of ``number`` of them), each with one of its runs."""
        arms = random.permutation(len(self.arms))[:number]
        rows = np.array([self.arms[arm][random.integers(len(self.arms[arm]))] for arm in arms])
        return self._trials(rows, self.values[rows], self.truth[rows])

    def resample(self, random: np.random.Generator, number: int, noise: float) -> Trials:
        """``number`` synthetic trials: curves drawn with replacement, each moved as a whole and at every epoch.

        Args:
            noise: standard deviation of both, in units of the metric. A move of the whole curve keeps its rank from
                rung to end, noise at each epoch does not; the truth of a synthetic trial is its own last value.
        """
        rows = random.integers(len(self.values), size=number)
        values = self.values[rows]
        values += noise * (random.standard_normal((number, 1)) + random.standard_normal(values.shape))
        return self._trials(rows, values, values[:, -1].copy())

    def _trials(self, rows: np.ndarray, values: np.ndarray, truth: np.ndarray) -> Trials:
        of = (self.length, self.diverged, self.seconds, self.brackets)
        return Trials(values, *(column[rows].tolist() for column in of), truth)
