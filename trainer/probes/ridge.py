"""Closed-form ridge regression, and linear accuracy by it: one number per feature, no optimiser to tune.

The penalty is ALPHA times the mean variance of the features, the same in every direction, so the score does
not change when all features are scaled, and directions far below the others in variance are not amplified.
ALPHA = 0.01 is closest to the paper's protocol (a linear layer, Adam 1e-3, 300 epochs) for the aggregate of a
collapsed digits run (50.8 against 52.4 %; one seed, see tests/benchmarks/ridge_strength.py); spread features hardly
depend on it. A weaker
penalty is kinder to collapsed features: they hold class information in directions of tiny variance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.probes.precision import in_double

ALPHA = 1e-2


class Linear:
    """Ridge regression in double precision, fitted when made.

    Args:
        features: (n, d); goals: (n, k).
    """

    def __init__(self, features: Tensor, goals: Tensor, alpha: float = ALPHA):
        x, y = in_double(features), in_double(goals)
        self._mean, self._offset = x.mean(0), y.mean(0)
        x = x - self._mean
        # the floor decides only when nothing varies: the prediction is then the mean goal
        penalty = (alpha * x.square().mean()).clamp_min(1e-30)
        # (X'X/n + p)^-1 X'/n = X' (XX'/n + p)^-1 / n: solve on the smaller side, pixels are many
        wide = x.shape[0] < x.shape[1]
        gram = (x @ x.T if wide else x.T @ x) / len(x)
        gram.diagonal().add_(penalty)
        goal = (y - self._offset) / len(x)
        self._weight = x.T @ torch.linalg.solve(gram, goal) if wide else torch.linalg.solve(gram, x.T @ goal)

    def __call__(self, features: Tensor) -> Tensor:
        """(m, k) for (m, d) features."""
        return (in_double(features) - self._mean) @ self._weight + self._offset


class Ridge(Linear):
    """One-against-all ridge classifier.

    Args:
        features: (n, d) train features.
        labels: (n,) classes below ``classes``.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int, alpha: float = ALPHA):
        super().__init__(features, torch.nn.functional.one_hot(labels, classes), alpha)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Percent of (n, d) features classified correctly."""
        scores = self(features)
        return 100 * float((scores.argmax(1) == labels.to(scores.device)).double().mean())
