"""Coding rates of codes as they are measured: exact, and ToST's variational (diagonal) bound (2412.17810).

Rows are brought to length one, so that a rate tells how they are spread and not how large they are. The bound never
falls below the rate (Hadamard's inequality) and sees each coordinate alone: codes on one line whose coordinates are
equally large have nearly the highest bound there is. As something to maximise it therefore does not prevent collapse;
beside the rate it tells how much the coordinates go together.
"""

from __future__ import annotations

import numpy as np

EPS2 = 0.05
"""The distortion, squared; that of ``objective.rate`` unless set."""


def unit(rows: np.ndarray) -> np.ndarray:
    """(..., d) rows at length one; rows of zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def rate(rows: np.ndarray) -> np.ndarray:
    """1/2 logdet(I + d/(n eps2) Z'Z) in nats of (..., n, d) rows, (...)."""
    n, d = rows.shape[-2:]
    turned = np.swapaxes(rows, -1, -2)
    gram = rows @ turned if n < d else turned @ rows
    return np.linalg.slogdet(np.eye(min(n, d)) + d / (n * EPS2) * gram)[1] / 2


def variational_rate(rows: np.ndarray) -> np.ndarray:
    """The same of Z'Z without its off-diagonal."""
    n, d = rows.shape[-2:]
    return np.log1p(d / (n * EPS2) * np.square(rows).sum(-2)).sum(-1) / 2


def rates_used(rows: np.ndarray) -> tuple[float, float]:
    """The rate and the variational rate of (n, d) rows, each over the most that n rows of length one can have."""
    n, d = rows.shape
    rows, r = unit(rows), min(n, d)
    return (
        float(rate(rows) / (r / 2 * np.log1p(d / (r * EPS2)))),
        float(variational_rate(rows) / (d / 2 * np.log1p(1 / EPS2))),
    )
