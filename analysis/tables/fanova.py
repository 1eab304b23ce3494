"""fANOVA (Hutter et al., ICML 2014) as Optuna computes it, in a process of its own.

``python -m analysis.tables.fanova`` reads codes and scores from its standard input and writes shares.
"""

from __future__ import annotations

import json
import sys

import numpy as np

RESAMPLES = 20
TREES, TREES_AGAIN, DEPTH = 16, 8, 6
"""Of the forest, and of each resample's."""


def shares_with_range(codes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share of the variance of each setting alone, and the 5th and 95th percentile over resamples: (3, settings).

    Args:
        codes: (n, settings) float64.
        scores: (n,) float64.
    """
    n, drawn = len(scores), np.random.default_rng(0)
    again = []
    for seed in range(RESAMPLES):
        rows = drawn.integers(0, n, n)
        again.append(_shares(codes[rows], scores[rows], seed, TREES_AGAIN))
    low, high = np.quantile(np.array(again), [0.05, 0.95], axis=0)
    return np.array([_shares(codes, scores, 0, TREES), low, high])


def _shares(codes: np.ndarray, target: np.ndarray, seed: int, trees: int) -> np.ndarray:
    """fANOVA's share of each column alone."""
    import optuna

    ranges = {str(column): (codes[:, column].min(), codes[:, column].max()) for column in range(codes.shape[1])}
    ranges = {name: ends for name, ends in ranges.items() if ends[0] < ends[1]}
    if not ranges or np.ptp(target) == 0:
        return np.zeros(codes.shape[1])
    distributions = {name: optuna.distributions.FloatDistribution(*ends) for name, ends in ranges.items()}
    trials = [
        optuna.trial.create_trial(
            params={name: row[int(name)] for name in ranges}, distributions=distributions, value=value
        )
        for row, value in zip(codes.tolist(), target.tolist(), strict=True)
    ]
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
    finally:
        optuna.logging.set_verbosity(said)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, max_depth=DEPTH, seed=seed)
    given = evaluator.evaluate(study, params=list(ranges))
    return np.array([given.get(str(column), 0.0) for column in range(codes.shape[1])])


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(shares_with_range(np.array(asked["codes"]), np.array(asked["scores"])).tolist()))
