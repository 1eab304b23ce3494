"""Effective ranks of a feature matrix: how many directions carry its variance.

Three definitions are in use and differ, so each is recorded under its own name. With e the eigenvalues of
the centred covariance and s = sqrt(e) the singular values:

``rank_pr``  (sum e)^2 / sum e^2, the participation ratio
``rank_sv``  (sum s)^2 / sum s^2, the research log's "effective rank"
``rankme``   exp(entropy of s / sum s), RankMe (arXiv 2210.02885)
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.probes.precision import in_double


def effective_ranks(features: Tensor) -> dict[str, float]:
    """Effective ranks of (n, d) features, each between 1 and min(n - 1, d); 1.0 if nothing varies."""
    wide = in_double(features)
    wide = wide - wide.mean(0)
    eigenvalues = torch.linalg.eigvalsh(wide.T @ wide).clamp_min(0)
    if float(eigenvalues.sum()) == 0:
        return {"rank_pr": 1.0, "rank_sv": 1.0, "rankme": 1.0}
    singular = eigenvalues.sqrt()
    share = singular / singular.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    return {
        "rank_pr": float(eigenvalues.sum() ** 2 / eigenvalues.square().sum()),
        "rank_sv": float(singular.sum() ** 2 / eigenvalues.sum()),
        "rankme": float(entropy.exp()),
    }
