"""Equivariance proper: is a change of the factor one linear operator on codes, whatever the image?

For each delta an operator M_delta with z(theta + delta) = M_delta z(theta) is fitted on train anchors by ridge
regression and judged on held-out anchors. On an equivariant code the operators compose,
M_d1 M_d2 = M_(d1 + d2), and those of a rotation have eigenvalues exp(i k delta): 1 for what is invariant and a
conjugate pair for each rotating pair of features of frequency k.

The fit is made on the moving part of the codes: each anchor minus its own mean over the sweep, which for a full
turn is exactly what the rotation leaves alone. On uncentred codes a few tens of train anchors leave most directions of
content unseen: the operator would take what varies there for noise, and destroy the content of other images (a code of
pure content and a little noise scored -18 against the identity, 12 train anchors in 16 dimensions).

Two baselines are needed, because each is easy alone: predicting the mean is poor wherever codes keep still, and
predicting no change is twice as wrong as the mean where codes are noise. The penalty pulls towards the identity, so
a direction the data say nothing about is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.errors import UsageError
from trainer.subspace.spectra import principal_axes
from trainer.subspace.sweep import Sweep

PENALTY = 1e-3
"""In units of the mean variance of the coordinates."""
MAX_DIMS = 64
"""Operators live in that many principal directions of the train codes, at most: (A T) rows must outnumber them well."""


@dataclass(frozen=True)
class Operators:
    """One operator per delta, in r principal coordinates.

    Attributes:
        lags: (J,) steps of the sweep; deltas (J,) the same in the unit of its values.
        matrices: (J, r, r), acting on column vectors.
        variances: (r,) variance of the (centred) train codes along the coordinates.
        retained: share of the held-out codes' variance inside the coordinates.
        r2_mean: (J,) held-out 1 - error / error of always predicting the train mean.
        r2_identity: (J,) held-out 1 - error / error of predicting no change.
        r2_best: (J,) against whichever of the two is better at that delta.
        pooled: ``mean``, ``identity`` and ``best`` with errors summed over all delta.
        periodic_steps: T for a full turn, otherwise None.
    """

    lags: np.ndarray
    deltas: np.ndarray
    matrices: np.ndarray
    variances: np.ndarray
    retained: float
    r2_mean: np.ndarray
    r2_identity: np.ndarray
    r2_best: np.ndarray
    pooled: dict[str, float]
    periodic_steps: int | None

    def eigenvalues(self) -> np.ndarray:
        """(J, r) complex eigenvalues of each operator."""
        return np.linalg.eigvals(self.matrices)


def fit_operators(
    sweep: Sweep,
    train: np.ndarray,
    held: np.ndarray,
    penalty: float = PENALTY,
    max_dims: int = MAX_DIMS,
) -> Operators:
    """Fit M_delta for every multiple of the step: all of a circle, up to half the range of another factor.

    M = I + N with N = argmin |Y - X - X N'|^2 + penalty * tr(X'X) / r * |N|^2 over the rows X = z(theta) and
    Y = z(theta + delta).

    Both sides are centred by their train means (which a shift moves).

    Raises:
        UsageError: penalty not positive or max_dims below 1.
    """
    if not penalty > 0 or max_dims < 1:
        raise UsageError(f"penalty = {penalty} must be positive and max_dims = {max_dims} at least 1")
    width, steps = sweep.codes.shape[2], len(sweep.values)
    codes = sweep.centred()
    rows = codes[train].reshape(-1, width)
    variances, axes = principal_axes(rows)
    # directions far below the precision of any encoder carry rounding errors
    count = max(1, min(max_dims, int(np.sum(variances > 1e-10 * variances[0]))))
    coordinates = (codes - rows.mean(0)) @ axes[:, :count]
    spread = codes[held] - codes[held].mean((0, 1))
    total = np.square(spread).sum()
    retained = float(np.square(spread @ axes[:, :count]).sum() / total) if total > sweep.tolerance else 1.0
    lags = np.arange(1, steps if sweep.periodic else steps // 2 + 1)
    fits = [_fit(coordinates, lag, sweep, train, held, penalty) for lag in lags]
    matrices, errors = np.stack([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])
    # columns: the operator, the mean, no change, the better of these two
    errors = np.column_stack([errors, errors[:, 1:].min(1)])
    r2s = [np.array([_r2(*pair) for pair in errors[:, [0, column]]]) for column in (1, 2, 3)]
    summed = errors.sum(0)
    pooled = {name: _r2(summed[0], summed[column]) for column, name in enumerate(("mean", "identity", "best"), start=1)}
    deltas = lags * float(np.diff(sweep.values).mean())
    return Operators(
        lags, deltas, matrices, variances[:count], retained, *r2s, pooled, steps if sweep.periodic else None
    )


def composition_errors(operators: Operators) -> tuple[np.ndarray, np.ndarray]:
    """How far M_d1 M_d2 is from M_(d1 + d2), for every pair d1 <= d2 whose sum was fitted (round the circle: every
    pair).

    Returns:
        Two (P,) arrays: |M_d1 M_d2 - M_(d1+d2)|_F / |M_(d1+d2)|_F, and the same with every matrix multiplied by
        the square root of the codes' covariance, the relative error on codes as they occur: without it,
        directions of hardly any variance weigh as much as the leading ones.
    """
    matrices = dict(zip(operators.lags.tolist(), operators.matrices, strict=True))
    if operators.periodic_steps is not None:
        matrices[0] = np.eye(len(operators.variances))
    scale = np.sqrt(operators.variances)
    plain, weighted = [], []
    for first in operators.lags.tolist():
        for second in operators.lags[operators.lags >= first].tolist():
            whole = first + second if operators.periodic_steps is None else (first + second) % operators.periodic_steps
            if whole in matrices:
                target, gap = matrices[whole], matrices[first] @ matrices[second] - matrices[whole]
                plain.append(np.linalg.norm(gap) / np.linalg.norm(target))
                below = np.linalg.norm(target * scale)
                weighted.append(np.linalg.norm(gap * scale) / below if below > 0 else 0.0)
    return np.array(plain), np.array(weighted)


def _fit(
    coordinates: np.ndarray, lag: int, sweep: Sweep, train: np.ndarray, held: np.ndarray, penalty: float
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The operator, and its held-out squared error with those of the mean and of the identity."""
    if sweep.periodic:
        start, end = coordinates, np.roll(coordinates, -lag, axis=1)
    else:
        start, end = coordinates[:, :-lag], coordinates[:, lag:]
    count = coordinates.shape[2]
    x, y, held_x, held_y = (part[rows].reshape(-1, count) for rows in (train, held) for part in (start, end))
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    ridge = penalty * np.trace(gram) / count
    # the floor matters only for a code that is one point everywhere, whose operator is the identity
    change = np.linalg.solve(gram + max(ridge, 1e-300) * np.eye(count), x.T @ (y - x)).T
    operator = np.eye(count) + change
    prediction = y_mean + (held_x - x_mean) @ operator.T
    errors = [float(np.square(held_y - guess).sum()) for guess in (prediction, y_mean, held_x)]
    return operator, tuple(error if error > sweep.tolerance else 0.0 for error in errors)


def _r2(error: float, baseline: float) -> float:
    # without any change there is nothing to predict: no better than the identity
    return 1 - error / baseline if baseline > 0 else 0.0
