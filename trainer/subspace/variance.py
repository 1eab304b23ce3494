"""How much of a code's variance a factor causes, and how codes and directions are spread."""

from __future__ import annotations

import numpy as np

from trainer.errors import UsageError


def factor_variance(codes: np.ndarray) -> float:
    """Share of the total centred variance that lies within anchors: SS_within / (SS_within + SS_between).

    One-way analysis of variance with anchors as groups, summed over features: 0 for a code that ignores the
    factor, 1 for one that knows nothing else. Centred, so that a common mean cannot hide the change, as it does
    in |dz|^2 / |z|^2. Invariance asks for a low share in the aggregate, equivariance for a high one in z.

    Args:
        codes: (A, T, D); pairs of views are T = 2.

    Returns:
        The share; 0.0 if no code differs from any other.
    """
    within, between = _sums_of_squares(codes)
    return within / (within + between) if within + between > 0 else 0.0


def intraclass_correlation(codes: np.ndarray) -> float:
    """ICC(1) = (MSB - MSW) / (MSB + (T - 1) MSW): how alike the codes of one anchor are (Shrout and Fleiss 1979).

    The mean squares are summed over features. 1 for a code that ignores the factor, about 0 if anchors are no
    groups at all, at worst -1 / (T - 1).
    """
    count, steps, _ = codes.shape
    within, between = _sums_of_squares(codes)
    msw, msb = within / (count * (steps - 1)), between / (count - 1)
    return (msb - msw) / (msb + (steps - 1) * msw) if msb + msw > 0 else 1.0


def relative_std(codes: np.ndarray) -> float:
    """sqrt(sum |z - mean|^2 / sum |z|^2) of (N, D) codes, in [0, 1]: free of scale; 0 where all codes are one point."""
    energy = float(np.square(codes).sum())
    return float(np.sqrt(np.square(codes - codes.mean(0)).sum() / energy)) if energy > 0 else 0.0


def mean_pairwise_cosine(codes: np.ndarray) -> float:
    """Mean cosine of the angle between two different codes of (N, D): 1 where all point one way. Zero codes are left
    out."""
    lengths = np.linalg.norm(codes, axis=1)
    unit = codes[lengths > 0] / lengths[lengths > 0, None]
    count = len(unit)
    # sum over all pairs = |sum of unit vectors|^2 - the N pairs of a code with itself
    return float((np.square(unit.sum(0)).sum() - count) / (count * (count - 1))) if count > 1 else float("nan")


def coordinate_participation(basis: np.ndarray) -> float:
    """Number of coordinates a subspace (D, k) uses: (sum p)^2 / sum p^2, p_i = sum_j U_ij^2; between k and D.

    Meaningful only for codes whose coordinates mean something (after a ReLU, or of a sparse coder): a rotation
    of feature space changes it. NaN if the basis is empty.
    """
    energy = np.square(basis).sum(1)
    return float(energy.sum() ** 2 / np.square(energy).sum()) if basis.shape[1] else float("nan")


def hoyer(x: np.ndarray) -> np.ndarray:
    """Hoyer sparsity (sqrt(D) - |x|_1 / |x|_2) / (sqrt(D) - 1) over the last axis (Hoyer 2004): 0 flat, 1 one-hot.

    Of a zero vector 0.0. Of a subspace: take its coordinate energies p.

    Raises:
        UsageError: the last axis has fewer than 2 entries.
    """
    width = x.shape[-1]
    if width < 2:
        raise UsageError(f"sparsity of {width} number means nothing; at least 2 features are needed")
    norm = np.linalg.norm(x, axis=-1)
    ratio = np.divide(np.abs(x).sum(-1), norm, out=np.full_like(norm, np.sqrt(width)), where=norm > 0)
    return (np.sqrt(width) - ratio) / (np.sqrt(width) - 1)


def _sums_of_squares(codes: np.ndarray) -> tuple[float, float]:
    if codes.ndim != 3 or codes.shape[0] < 2 or codes.shape[1] < 2:
        raise UsageError(f"codes have shape {codes.shape}; (anchors >= 2, values >= 2, features) is needed")
    means = codes.mean(1, keepdims=True)
    within = float(np.square(codes - means).sum())
    between = float(np.square(means - means.mean(0)).sum() * codes.shape[1])
    return within, between
