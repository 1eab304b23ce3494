"""Nearest-neighbour accuracy: what the geometry of a feature says by itself, without a fitted layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainer.data.row_chunks import row_chunks
from trainer.probes.precision import in_double

NEIGHBOURS, TEMPERATURE = (1, 20), 0.07
"""Votes are weighted as in instance discrimination (Wu et al., 1805.01978, 3.4), whose k of 200 is for a million
images."""
CHUNK = 1024


def knn_accuracy(train: Tensor, labels: Tensor, held: Tensor, held_labels: Tensor, classes: int) -> dict[int, float]:
    """Percent of held-out features whose k nearest train features (cosine) vote for the right class.

    A neighbour's vote weighs exp(cosine / TEMPERATURE). A zero feature has cosine 0 with everything.

    Args:
        train: (n, d), n at least the largest k; held: (m, d). labels: (n,); held_labels: (m,).

    Returns:
        {k: accuracy} for each k of NEIGHBOURS.
    """
    train, held = F.normalize(in_double(train), dim=1), F.normalize(in_double(held), dim=1)
    labels, held_labels = labels.to(train.device), held_labels.to(train.device)
    right = dict.fromkeys(NEIGHBOURS, 0)
    for rows, truth in zip(row_chunks(held, CHUNK), row_chunks(held_labels, CHUNK), strict=True):
        cosine, nearest = (rows @ train.T).topk(min(max(NEIGHBOURS), len(train)), dim=1)
        # relative to the nearest, which changes no vote and cannot overflow
        weight = ((cosine - cosine[:, :1]) / TEMPERATURE).exp()
        for k in NEIGHBOURS:
            votes = weight.new_zeros(len(rows), classes).scatter_add_(1, labels[nearest[:, :k]], weight[:, :k])
            right[k] += int((votes.argmax(1) == truth).sum())
    return {k: 100 * count / len(held) for k, count in right.items()}
