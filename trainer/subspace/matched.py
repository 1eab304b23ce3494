"""Overlap expected by chance when directions are drawn from the codes' own covariance.

``overlap_chance`` = max(k_u, k_v) / D asks what two subspaces share that point anywhere. Learned codes do not vary
equally in all directions: most of their variance lies in a few, so any two things that move a code move it along these.
The null here keeps the covariance S of all codes that were swept and drops everything else: a subspace is the span of k
independent draws x ~ N(0, S), U = orth(S^(1/2) G) with G (D, k) standard normal (the random subspaces of Elsayed et al.
2016, "Reorganization between preparatory and movement population responses in motor cortex").

Its mean. Take the eigenvectors of S as axes, with eigenvalues s_i. Flipping the sign of an axis leaves the distribution
of U unchanged, so the mean projector E[UU'] is diagonal, with entries p_i(k) that sum to k, and for independent U and V

    E |U'V|_F^2 / min(k_u, k_v) = sum_i p_i(k_u) p_i(k_v) / min(k_u, k_v).

With S = I every p_i is k / D and the mean is max(k_u, k_v) / D, the isotropic chance. For k = 1

    p_i(1) = E[s_i g_i^2 / sum_j s_j g_j^2]
           = integral over t > 0 of s_i / (1 + 2 t s_i) * prod_j (1 + 2 t s_j)^(-1/2) dt,

in two dimensions sqrt(s_1) / (sqrt(s_1) + sqrt(s_2)). For larger k there is no closed form, and the spread has none
at all: both are simulated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

DRAWS = 1000
LEVEL = 0.95
_AT_ONCE = 2**24
"""Numbers per batch of draws."""


class Chance(NamedTuple):
    """Overlap of two independent random subspaces: its mean, and the ends of its central 95 % interval."""

    mean: float
    low: float
    high: float


class MatchedNull:
    """Random subspaces with the covariance of given codes; draws are made once per width and reused.

    Args:
        variances: eigenvalues of the covariance, see :func:`variances_of`; their scale does not matter.
        seed: of the numpy Generator; no global generator is touched.
    """

    def __init__(self, variances: np.ndarray, seed: int, draws: int = DRAWS):
        alive = variances[variances > 1e-10 * max(variances.max(initial=0.0), 1e-300)]
        self._scale, self._seed, self._draws = np.sqrt(alive), seed, draws
        self._bases: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._found: dict[tuple[int, int], Chance] = {}

    def overlap(self, k_u: int, k_v: int) -> Chance:
        """For subspaces of k_u and k_v dimensions; NaN if one is empty or the codes are one point.

        At most as many dimensions as the codes have directions with variance count.
        """
        widths = tuple(sorted(min(k, len(self._scale)) for k in (k_u, k_v)))
        if widths[0] == 0:
            return Chance(float("nan"), float("nan"), float("nan"))
        if widths not in self._found:
            (first, _), (_, second) = self._drawn(widths[0]), self._drawn(widths[1])
            shared = np.square(np.swapaxes(first, 1, 2) @ second).sum((1, 2)) / widths[0]
            # means of projectors use every pair of draws, not only the drawn pairs
            projectors = [np.square(basis).sum(2).mean(0) for basis in (first, second)]
            tail = (1 - LEVEL) / 2
            low, high = np.quantile(shared, [tail, 1 - tail])
            self._found[widths] = Chance(float(projectors[0] @ projectors[1]) / widths[0], float(low), float(high))
        return self._found[widths]

    def _drawn(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Two independent stacks (draws, D, k) of orthonormal bases, in the axes of the covariance."""
        if k not in self._bases:
            rng = np.random.default_rng([self._seed, k])
            self._bases[k] = self._stack(rng, k), self._stack(rng, k)
        return self._bases[k]

    def _stack(self, rng: np.random.Generator, k: int) -> np.ndarray:
        size = max(1, _AT_ONCE // (len(self._scale) * k))
        counts = [min(size, self._draws - start) for start in range(0, self._draws, size)]
        normal = (rng.standard_normal((count, len(self._scale), k)) for count in counts)
        return np.concatenate([np.linalg.qr(self._scale[:, None] * part)[0] for part in normal])


def variances_of(codes: Iterable[np.ndarray]) -> np.ndarray:
    """Eigenvalues, descending, of the covariance of several (..., D) stacks of codes taken together, about one mean."""
    stacks = [part.reshape(-1, part.shape[-1]) for part in codes]
    count = sum(len(part) for part in stacks)
    mean = sum(part.sum(0) for part in stacks) / count
    covariance = sum((part - mean).T @ (part - mean) for part in stacks) / count
    return np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0.0)
