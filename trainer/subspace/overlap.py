"""Do two factors, or two evaluations, use the same directions? Comparisons of orthonormal bases (D, k)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import subspace_angles

from trainer.errors import UsageError


def overlap(u: np.ndarray, v: np.ndarray) -> float:
    """|U'V|_F^2 / min(k_u, k_v): 1 if one subspace contains the other, 0 if they are orthogonal; NaN if one is empty.

    The mean squared cosine of the principal angles (Bjorck and Golub 1973).
    """
    return _shared(u, v) / min(u.shape[1], v.shape[1]) if min(u.shape[1], v.shape[1]) else float("nan")


def overlap_chance(u: np.ndarray, v: np.ndarray) -> float:
    """Expected overlap of two independent uniformly random subspaces of these sizes: max(k_u, k_v) / D."""
    return max(u.shape[1], v.shape[1]) / len(u)


def overlap_log(u: np.ndarray, v: np.ndarray) -> float:
    """|U'V|_F^2 / (k_u k_v), the research log's formula: only 1/k for identical subspaces. For reading old runs."""
    return _shared(u, v) / (u.shape[1] * v.shape[1]) if u.shape[1] * v.shape[1] else float("nan")


def principal_angles(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(min(k_u, k_v),) principal angles in degrees, ascending; empty if a subspace is."""
    if not u.shape[1] * v.shape[1]:
        return np.zeros(0)
    _check(u, v)
    return np.rad2deg(subspace_angles(u, v))[::-1]


def update_projector(average: np.ndarray | None, basis: np.ndarray, decay: float) -> np.ndarray:
    """Moving average of projectors: decay * average + (1 - decay) * UU', (D, D); at the first evaluation UU' alone.

    Projectors are averaged, not bases: a basis may be flipped or rotated without its subspace changing.

    Raises:
        UsageError: decay outside [0, 1), or another number of features than the average's.
    """
    if not 0 <= decay < 1:
        raise UsageError(f"decay = {decay} must be at least 0 and below 1")
    projector = basis @ basis.T
    if average is None:
        return projector
    if average.shape != projector.shape:
        raise UsageError(
            f"previous projector has {len(average)} features, the codes {len(projector)}; start without it"
        )
    return decay * average + (1 - decay) * projector


def stability(basis: np.ndarray, average: np.ndarray) -> float:
    """tr(U' P U) / k with P the average of earlier projectors: 1 if the subspace has not moved; NaN if it is empty."""
    return float(np.trace(basis.T @ average @ basis) / basis.shape[1]) if basis.shape[1] else float("nan")


def _shared(u: np.ndarray, v: np.ndarray) -> float:
    _check(u, v)
    return float(np.square(u.T @ v).sum())


def _check(u: np.ndarray, v: np.ndarray) -> None:
    if len(u) != len(v):
        raise UsageError(
            f"bases with {len(u)} and {len(v)} features cannot be compared; both must come from the same codes"
        )
    for basis in (u, v):
        if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-6):
            raise UsageError(f"a basis of shape {basis.shape} is not orthonormal; take it from subspace_basis")
