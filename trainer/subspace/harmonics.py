"""Fourier analysis of a code along a full turn."""

from __future__ import annotations

import numpy as np

from trainer.errors import UsageError
from trainer.subspace.sweep import Sweep


def fourier_features(angles: np.ndarray, harmonics: int) -> np.ndarray:
    """(T, 2H): cos theta, sin theta, cos 2 theta, ... sin H theta; ``angles`` (T,) in radians."""
    phases = np.multiply.outer(angles, np.arange(1, harmonics + 1))
    return np.stack([np.cos(phases), np.sin(phases)], axis=-1).reshape(len(angles), -1)


def harmonic_power(sweep: Sweep) -> np.ndarray:
    """(A, T // 2 + 1) variance of z(theta) at each frequency k = 0 ... T // 2, summed over the features, per anchor.

    P_k = 2 |c_k|^2 with c_k = 1/T sum_t z(theta_t) exp(-i k theta_t); without the 2 for k = 0 and k = T/2. By
    Parseval the entries k >= 1 sum to the anchor's variance over its sweep; entry 0 is the squared norm of its
    mean, the invariant part. Frequencies above T/2 fold back: T must exceed twice the highest one.

    Raises:
        UsageError: the factor is not periodic.
    """
    if not sweep.periodic:
        raise UsageError("harmonic power was asked of a factor that is not periodic; only a full turn has harmonics")
    steps = len(sweep.values)
    power = np.square(np.abs(np.fft.rfft(sweep.centred(), axis=1) / steps))
    power[:, 1 : (steps + 1) // 2] *= 2
    power = power.sum(2)
    power[:, 0] = np.square(sweep.codes.mean(1)).sum(1)
    return power


def harmonic_shares(power: np.ndarray) -> np.ndarray:
    """(A, K) share of each frequency k = 1 ... K in the anchor's variance over its sweep; zeros for an anchor at
    rest."""
    moving = power[:, 1:]
    total = moving.sum(1, keepdims=True)
    return np.divide(moving, total, out=np.zeros_like(moving), where=total > 0)
