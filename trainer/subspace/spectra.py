"""Eigenspectra of differences dz: how many directions a factor moves the code in.

``subspace_ev`` exists in three versions, because one number hides what matters:

pooled  share of the variance of all anchors' differences in their k leading directions;
anchor  the same for each anchor alone, averaged: low pooled but high per-anchor shares mean that every image
        moves in few directions, but in its own;
action  held-out R^2 of the differences on k functions of the factor alone (Fourier features for angles,
        powers otherwise), the same for all anchors: what the factor explains without knowing the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import UsageError
from trainer.subspace.harmonics import fourier_features
from trainer.subspace.sweep import Sweep, r2_score

_BOOTSTRAP_AXES = 64


@dataclass(frozen=True)
class Spectrum:
    """Normalised cumulative eigenspectrum: entry i is the share of variance in the i + 1 leading directions.

    Attributes:
        cumulative, low, high: (K,) the estimate and its pointwise band over resampled anchors.
    """

    cumulative: np.ndarray
    low: np.ndarray
    high: np.ndarray


def principal_axes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the covariance of (n, D) rows, descending, and its eigenvectors (D, r), r = min(n, D).

    Rows are centred; eigenvalues sum to the total variance (divisor n). With n < D, directions without variance
    are zero vectors.
    """
    x = x - x.mean(0)
    # the smaller of the two Gram matrices has the same non-zero eigenvalues
    if x.shape[0] >= x.shape[1]:
        eigenvalues, axes = np.linalg.eigh(x.T @ x / len(x))
    else:
        eigenvalues, left = np.linalg.eigh(x @ x.T / len(x))
        alive = eigenvalues > 1e-12 * eigenvalues[-1]
        axes = x.T @ (left * np.where(alive, 1 / np.sqrt(np.where(alive, eigenvalues, 1) * len(x)), 0))
    order = slice(None, None, -1)
    return np.maximum(eigenvalues[order], 0.0), axes[:, order]


def subspace_basis(
    differences: np.ndarray, k: int, principal: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Orthonormal basis (D, k') of the k leading directions of (..., D) differences.

    k' < k where fewer directions carry variance: the missing ones would be arbitrary.

    Args:
        principal: the rows' principal axes, where they are at hand.
    """
    eigenvalues, axes = principal or principal_axes(differences.reshape(-1, differences.shape[-1]))
    alive = int(np.sum(eigenvalues > 1e-10 * max(eigenvalues[0], 1e-300)))
    return np.linalg.qr(axes[:, : min(k, alive)])[0]


def ev_per_anchor(differences: np.ndarray, ks: Sequence[int]) -> list[float]:
    """For each k, the mean over anchors of the top-k share of each anchor's own variance; (A, T, D) differences.
    Anchors at rest count 0."""
    spectra = [principal_axes(anchor)[0] for anchor in differences]
    return [float(np.mean([_share(eigenvalues, k) for eigenvalues in spectra])) for k in ks]


def ev_action(sweep: Sweep, train: np.ndarray, held: np.ndarray, k: int) -> float:
    """R^2 on held-out anchors of dz(theta) on k functions of theta and a constant, fitted on train anchors.

    Args:
        k: for angles even: cos and sin of the harmonics 1 ... k/2; otherwise the powers 1 ... k (below T).

    Raises:
        UsageError: k is odd for angles, or there are not more values than functions.
    """
    if k < 1 or k >= len(sweep.values) or (sweep.periodic and k % 2):
        raise UsageError(
            f"k = {k} functions of the factor: k must lie between 1 and {len(sweep.values) - 1}, the number of values "
            "less one, and be even for angles"
        )
    if sweep.periodic:
        columns = fourier_features(sweep.radians, k // 2)
    else:
        columns = np.polynomial.legendre.legvander(sweep.values / np.abs(sweep.values).max(), k)[:, 1:]
    design = np.column_stack([np.ones(len(sweep.values)), columns])
    differences = sweep.differences()
    # the same design for every anchor: least squares on the mean curve is least squares on all of them
    curve = design @ np.linalg.lstsq(design, differences[train].mean(0), rcond=None)[0]
    truth = differences[held]
    return r2_score(
        truth.reshape(-1, truth.shape[-1]), np.broadcast_to(curve, truth.shape).reshape(-1, truth.shape[-1])
    )


def effective_rank(differences: np.ndarray) -> float:
    """Participation ratio (sum e)^2 / sum e^2 of the eigenvalues of cov(dz); (..., D). 1.0 if nothing moves.

    The same definition as ``rank_pr`` of ``trainer.probes.ranks``.
    """
    rows = differences.reshape(-1, differences.shape[-1])
    rows = rows - rows.mean(0)
    # traces of the covariance and of its square: no eigenvalues are needed
    gram = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    return float(np.trace(gram) ** 2 / np.square(gram).sum()) if np.trace(gram) > 0 else 1.0


def eigenspectrum(
    differences: np.ndarray,
    top: int,
    seed: int,
    draws: int = 200,
    principal: tuple[np.ndarray, np.ndarray] | None = None,
) -> Spectrum:
    """Normalised cumulative eigenspectrum of (A, T, D) differences with a bootstrap band over anchors.

    The band is the estimate +- 1.96 standard deviations over resampled anchors, within [0, 1]. Anchors are
    resampled with replacement, not rows: the values of one sweep are not independent. Percentiles would mislead: a
    resample repeats anchors, so its spectrum is steeper than the sample's. Resampled covariances are diagonalised
    within the 64 leading directions of the full one; their trace is exact.

    Args:
        top: length K of the spectrum; cut to D.
        seed: of the numpy Generator that resamples.
        principal: the rows' principal axes, where they are at hand.
    """
    count, steps, width = differences.shape
    rows = differences.reshape(-1, width)
    eigenvalues, axes = principal or principal_axes(rows)
    top = min(top, len(eigenvalues))
    if eigenvalues[0] == 0:
        return Spectrum(*(np.zeros(top) for _ in range(3)))
    centred = differences - rows.mean(0)
    inside = centred @ axes[:, : max(_BOOTSTRAP_AXES, 2 * top)]
    second, first = np.einsum("atd,ate->ade", inside, inside) / steps, inside.mean(1)
    energy, means = np.square(centred).sum((1, 2)) / steps, centred.mean(1)
    rng, curves = np.random.default_rng(seed), []
    for _ in range(draws):
        weights = np.bincount(rng.integers(count, size=count), minlength=count) / count
        mean = weights @ first
        covariance = np.tensordot(weights, second, 1) - np.outer(mean, mean)
        total = weights @ energy - np.square(weights @ means).sum()
        # a draw of anchors at rest only has no spectrum; it counts as one that explains nothing
        leading = np.maximum(np.linalg.eigvalsh(covariance)[::-1][:top], 0)
        curves.append(np.cumsum(leading) / total if total > 1e-12 * eigenvalues.sum() else np.zeros(top))
    cumulative = np.minimum(np.cumsum(eigenvalues[:top]) / eigenvalues.sum(), 1.0)
    half = 1.96 * np.std(curves, axis=0, ddof=1)
    return Spectrum(cumulative, np.maximum(cumulative - half, 0), np.minimum(cumulative + half, 1))


def _share(eigenvalues: np.ndarray, k: int) -> float:
    if k < 1:
        raise UsageError(f"k = {k} leading directions: k must be at least 1")
    total = eigenvalues.sum()
    return float(eigenvalues[:k].sum() / total) if total > 0 else 0.0
