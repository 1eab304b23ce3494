"""How the next point is proposed: Optuna's samplers, one call each, and a Sobol sequence.

Each takes a seed of its own per trial, so suggestion k depends on (study seed, k, what was told before), and on
nothing a process remembers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler

N_STARTUP = 8
"""Trials told before TPE's model replaces random draws."""


def make(
    name: str, seed: int, study_seed: int, number: int, names: tuple[str, ...], fixed: Mapping[str, Any]
) -> BaseSampler:
    """The sampler of one suggestion.

    Args:
        name: tpe, random, qmc or grid (whose points come from the space; it draws at random what lies beyond them).
        seed: of this suggestion.
        study_seed: of the study; scrambles the Sobol sequence.
        number: of the trial.
        names: the space's parameters in a fixed order.
        fixed: parameters that are not the sampler's to choose.
    """
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # group: parameters that exist only in some branches (ema_half_life) are modelled together where they do
            tpe = _Tpe(seed=seed, n_startup_trials=N_STARTUP, multivariate=True, group=True, constant_liar=True)
            return PartialFixedSampler(dict(fixed), tpe) if fixed else tpe
    if name == "qmc":
        return Sobol(study_seed, number, names)
    return RandomSampler(seed=seed)


class _Tpe(TPESampler):
    """TPE that knows of a running trial only what is on record, its own parameters.

    Optuna also shares what the sampler drew for branches the trial did not take; a driver that rebuilds the study from
    its record could not know that, and its next suggestion would be another one.
    """

    def _get_params(self, trial: Any, study: Any) -> dict[str, Any]:
        return trial.params


class Sobol(BaseSampler):
    """A scrambled Sobol sequence, one dimension per parameter name.

    Optuna's QMCSampler takes its space from the first finished trial and draws the rest of a conditional space at
    random; here every name keeps its dimension, whichever branch a trial is in and whoever ends first.
    """

    def __init__(self, seed: int, number: int, names: tuple[str, ...]):
        self._row = dict(zip(names, _sequence(seed, len(names), number), strict=True))

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        share = float(self._row[param_name])
        if isinstance(param_distribution, CategoricalDistribution):
            choices = param_distribution.choices
            return choices[min(int(share * len(choices)), len(choices) - 1)]
        low, high, step = param_distribution.low, param_distribution.high, param_distribution.step
        whole = isinstance(param_distribution, IntDistribution)
        if param_distribution.log:
            half = 0.5 if whole else 0.0  # of a whole number, so that the first and the last get their share
            start, end = math.log(low - half), math.log(high + half)
            drawn = math.exp(start + share * (end - start))
            return min(max(round(drawn) if whole else drawn, low), high)
        if step is None:
            return low + share * (high - low)
        steps = round((high - low) / step)
        return low + min(int(share * (steps + 1)), steps) * step


@cache
def _points(seed: int, dimensions: int, power: int) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, scramble=True, seed=seed).random_base2(power)


def _sequence(seed: int, dimensions: int, number: int) -> np.ndarray:
    """Point ``number``; a longer stretch of the same scrambled sequence begins with the shorter one."""
    return _points(seed, dimensions, max(6, (number + 1).bit_length()))[number]
