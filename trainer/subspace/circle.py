"""Does a full turn of the image draw a circle, the same one for images never used to find it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.subspace.harmonics import fourier_features
from trainer.subspace.spectra import principal_axes
from trainer.subspace.sweep import Sweep, r2_score


@dataclass(frozen=True)
class Circle:
    """Held-out anchors in the plane of the two leading directions of the train anchors, each anchor centred on itself.

    Attributes:
        points: (held, T, 2).
        scores: (H,) circle score of the harmonics 1 ... H: R^2 over held-out anchors of (cos h theta, sin h theta)
            as a linear function of the two coordinates, fitted on train anchors. It needs the same phase in
            every image; an anchor-specific phase scores 0 here and shows in ``windings`` and in the harmonic power.
        radius_cv: standard deviation / mean of the distance from the centre along a turn, averaged over anchors.
        winding: turns of the mean curve round the centre during one turn of the image; never negative, because
            the plane has no orientation.
        windings: (held,) turns of each anchor, positive in the direction of the mean curve.
    """

    points: np.ndarray
    scores: np.ndarray
    radius_cv: float
    winding: int
    windings: np.ndarray


def rotation_circle(sweep: Sweep, train: np.ndarray, held: np.ndarray, harmonics: int = 4) -> Circle:
    """Fit the plane on train anchors and measure held-out ones; a code that ignores the angle scores 0 and winds 0
    times.

    Raises:
        UsageError: the factor is not periodic.
    """
    angles, centred = sweep.radians, sweep.centred()
    width = centred.shape[2]
    eigenvalues, axes = principal_axes(centred[train].reshape(-1, width))
    plane = np.zeros((width, 2))
    if eigenvalues[0] > 0:
        plane[:, : min(2, axes.shape[1])] = axes[:, :2]
    fitted, points = centred[train] @ plane, centred[held] @ plane
    targets = fourier_features(angles, harmonics)
    weights = np.linalg.lstsq(fitted.reshape(-1, 2), np.tile(targets, (len(train), 1)), rcond=None)[0]
    truth, prediction = np.tile(targets, (len(held), 1)), points.reshape(-1, 2) @ weights
    pairs = [slice(2 * h, 2 * h + 2) for h in range(harmonics)]
    scores = np.array([r2_score(truth[:, pair], prediction[:, pair]) for pair in pairs])
    mean, each = winding_number(points.mean(0)), np.array([winding_number(curve) for curve in points])
    return Circle(points, scores, radius_cv(points), abs(mean), each * (1 if mean >= 0 else -1))


def radius_cv(points: np.ndarray) -> float:
    """Coefficient of variation of |point| along (A, T, 2) curves, averaged over anchors that move; NaN if none does."""
    radii = np.linalg.norm(points, axis=2)
    radii = radii[radii.max(1) > 0]
    return float((radii.std(1) / radii.mean(1)).mean()) if len(radii) else float("nan")


def winding_number(curve: np.ndarray) -> int:
    """Turns of a closed curve (T, 2) round the origin, counterclockwise positive; the last point joins the first.

    Steps are taken the short way round, so at most T / 2 turns can be seen. 0 for a curve at rest.
    """
    if not np.square(curve).sum() > 0:
        return 0
    direction = np.arctan2(curve[:, 1], curve[:, 0])
    steps = np.diff(np.append(direction, direction[0]))
    return round(float(((steps + np.pi) % (2 * np.pi) - np.pi).sum()) / (2 * np.pi))
