"""A search's scores smoothed over its settings: what an arm is worth by its neighbours too, not by one seed alone.

The largest of many noisy scores is the luckiest one. A Gaussian process over the searched settings (scikit-learn's:
one length per setting, Matern 5/2, and white noise) draws each score towards those of settings like it. All strata are
fitted together, the stratum being a setting like any other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from studies.engine.spaces import Parameter

LEAST = 6
"""Fewer scores than this give no fit."""


def smoothed(
    variants: Mapping[str, Sequence[Parameter]], raws: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> list[float]:
    """The fitted surface at each of the points; equal arguments give equal values.

    Args:
        variants: the space's parameters, see :func:`studies.engine.spaces.variants`.
        raws: raw points, at least two.
        scores: of each point, finite, all after the same number of epochs.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    points = encoded(variants, raws)
    if not points.shape[1] or max(scores) == min(scores):
        return [float(np.mean(scores))] * len(scores)
    lengths = Matern(np.ones(points.shape[1]), (0.2, 10.0), nu=2.5)
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * lengths + WhiteKernel(0.3, (0.01, 3.0))
    fit = GaussianProcessRegressor(kernel, normalize_y=True)  # one start from the same values: nothing is random
    with warnings.catch_warnings():
        # a setting that does not matter has its length at the bound, which is as good as any
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.fit(points, np.asarray(scores, float))
    return [round(float(value), 9) for value in fit.predict(points)]


def encoded(variants: Mapping[str, Sequence[Parameter]], raws: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(points, columns) of numbers from 0 to 1, without columns that do not vary.

    A number is scaled in its range, on its logarithm where it is searched so; a choice has a column for each of its
    options. Where a setting depends on another, those without it get the middle of its range, and a column says so.
    """
    columns: list[list[float]] = []
    for name, parameters in variants.items():
        there = [name in raw for raw in raws]
        columns.append([float(one) for one in there])
        if parameters[0].choices is not None:
            options = list(dict.fromkeys(option for one in parameters for option in one.choices or ()))
            columns += [[float(name in raw and raw[name] == option) for raw in raws] for option in options]
            continue
        low, high = min(one.low for one in parameters), max(one.high for one in parameters)
        log = any(one.log for one in parameters)
        columns.append([_scaled(raw[name], low, high, log) if name in raw else 0.5 for raw in raws])
    table = np.array(columns, float).reshape(len(columns), len(raws)).T
    return table[:, table.max(0) > table.min(0)]


def _scaled(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.5
