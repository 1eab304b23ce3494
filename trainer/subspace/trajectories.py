"""The path of each anchor's code through its own sweep. Nothing here joins codes of different images."""

from __future__ import annotations

import numpy as np

from trainer.subspace.spectra import principal_axes
from trainer.subspace.sweep import Sweep


def parallelism(sweep: Sweep) -> tuple[float, np.ndarray]:
    """Do all anchors move the same way? Mean cosine between the dz(theta) of two different anchors.

    Returns:
        Its mean over theta other than 0, and (T,) one per theta with NaN at 0 and where fewer than two anchors
        move. The mean is 0.0 if no two anchors ever do.
    """
    differences = sweep.differences()
    lengths = np.linalg.norm(differences, axis=2, keepdims=True)
    unit = np.divide(differences, lengths, out=np.zeros_like(differences), where=lengths > 0)
    moving = (lengths > 0).sum((0, 2)).astype(float)
    # at theta = 0 nothing moves, which leaves NaN there
    pairs = np.where(moving > 1, moving * (moving - 1), np.nan)
    curve = (np.square(unit.sum(0)).sum(1) - moving) / pairs
    return (float(np.nanmean(curve)) if np.isfinite(curve).any() else 0.0), curve


def plane_paths(sweep: Sweep, train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(held, T, 2) paths of the held-out anchors: dz(theta) on the two leading directions of the train anchors' dz.

    Every path passes through the origin at theta = 0. The directions are not centred coordinates: parallel paths lie on
    top of each other.
    """
    differences = sweep.differences()
    width = differences.shape[2]
    axes = principal_axes(differences[train].reshape(-1, width))[1][:, :2]
    paths = differences[held] @ axes
    # one feature alone has one direction
    return paths if width > 1 else np.concatenate([paths, np.zeros_like(paths)], axis=2)
