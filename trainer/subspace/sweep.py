"""Sweeps: codes of the same images at every value of one factor, and the rules they obey."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from trainer.errors import UsageError

FULL_CIRCLE = 360.0


def as_double(x: Any) -> np.ndarray:
    """A float64 array on the CPU, whatever device a tensor lives on (MPS has no double precision)."""
    return (
        x.detach().cpu().double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, dtype=np.float64)
    ).copy()


@dataclass(frozen=True)
class Sweep:
    """Codes of A anchors at T values of one factor.

    Attributes:
        values: (T,) increasing, equally spaced, 0 among them: degrees if ``periodic``, otherwise any unit in
            which the factor acts additively (pixels of shift, *logarithm* of scale).
        codes: (A, T, D) float64; ``codes[a, t]`` is anchor a at ``values[t]``.
        periodic: the values go once round the circle, 360 degrees left out (it is 0 again and would count twice).
        tolerance: sums of squares up to this are rounding errors of the codes' own precision.

    Raises:
        UsageError: the values or codes break a rule; the message says which.
    """

    values: np.ndarray
    codes: np.ndarray
    periodic: bool
    tolerance: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        single = getattr(self.codes, "dtype", None) in (
            torch.float32,
            torch.float16,
            torch.bfloat16,
            np.dtype("float32"),
        )
        values, codes = as_double(self.values), as_double(self.codes)
        check_values(values, self.periodic)
        if codes.ndim != 3 or codes.shape[1] != len(values) or len(codes) < 4 or codes.shape[2] < 1:
            raise UsageError(
                f"codes have shape {codes.shape}; {len(values)} values need (anchors >= 4, {len(values)}, features"
                " >= 1)"
            )
        if not np.isfinite(codes).all():
            raise UsageError(
                f"{np.sum(~np.isfinite(codes))} of {codes.size} codes are NaN or infinite: a diverged encoder"
            )
        precision = np.finfo(np.float32 if single else np.float64).eps
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "tolerance", float((64 * precision) ** 2 * np.square(codes).sum()))

    @property
    def zero(self) -> int:
        """Position of the value 0, the untransformed image."""
        return int(np.argmin(np.abs(self.values)))

    @property
    def radians(self) -> np.ndarray:
        """(T,) angles; only for a periodic factor."""
        if not self.periodic:
            raise UsageError("only a periodic factor has angles; pass periodic=True if it takes a full turn")
        return np.deg2rad(self.values)

    def differences(self) -> np.ndarray:
        """(A, T, D): z(theta) - z(0) of each anchor; the row of theta = 0 is zero."""
        return self._clean(self.codes - self.codes[:, [self.zero]])

    def centred(self) -> np.ndarray:
        """(A, T, D): z(theta) minus each anchor's own mean over the sweep, which removes what theta leaves alone."""
        return self._clean(self.codes - self.codes.mean(1, keepdims=True))

    def _clean(self, x: np.ndarray) -> np.ndarray:
        # a code that ignores the factor must give zeros, not directions made of rounding errors
        return x if np.square(x).sum() > self.tolerance else np.zeros_like(x)


def check_values(values: np.ndarray, periodic: bool) -> None:
    """Refuse a grid on which the diagnostics would be wrong.

    Raises:
        UsageError: fewer than 3 values, not increasing in equal steps, no 0, or (periodic) not one full circle without
            its end.
    """
    if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
        raise UsageError(f"values = {values.tolist()} must be one row of at least 3 finite numbers")
    steps = np.diff(values)
    if steps.min() <= 0 or not np.allclose(steps, steps.mean(), rtol=1e-4, atol=0):
        raise UsageError(f"values = {values.tolist()} must increase in equal steps (give scales as logarithms)")
    if np.abs(values).min() > 1e-6 * steps.mean():
        raise UsageError(f"values = {values.tolist()} must contain 0, the untransformed image")
    if periodic and not np.isclose(len(values) * steps.mean(), FULL_CIRCLE, rtol=1e-4):
        raise UsageError(
            f"{len(values)} angles from {values[0]:g} to {values[-1]:g} degrees do not go once round the circle "
            "with its end left out (0, s, 2s, ... 360 - s); a part of the circle is a factor that is not periodic"
        )


def split_anchors(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (train, held-out) anchors, half of at least 4 each, drawn without replacement, in increasing
    order."""
    if count < 4:
        raise UsageError(f"{count} anchors cannot be split; at least 4 are needed, some tens are useful")
    held = round(count / 2)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def r2_score(truth: np.ndarray, prediction: np.ndarray) -> float:
    """1 - sum |truth - prediction|^2 / sum |truth - its mean row|^2 over all rows and outputs.

    0.0 if all rows are alike: there is nothing to explain, and nothing was.
    """
    total = float(np.square(truth - truth.mean(0)).sum())
    return 1 - float(np.square(truth - prediction).sum()) / total if total > 0 else 0.0
