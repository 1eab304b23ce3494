"""Features of fixed views from a model that is not being trained, and of the batches it is trained on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.blocks.norm import GlobalBatchNorm
from trainer.data.row_chunks import joined_chunks, row_chunks
from trainer.data.views import FixedViews
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.method import evaluating


@dataclass(frozen=True)
class Features:
    """What a model makes of n sequences.

    Attributes:
        z: (n, M, D) codes of the observed views; z_agg: (n, T) aggregates.
        codes: (n, M+1, D) codes of all views, where they were asked for, otherwise ``z``.
        labels: (n,); factors: (n, M, P) actions, all components; poses: (n, M+1, P) absolute parameters.
        loss: mean prediction loss, NaN where it was not asked for.
        actions: (n, M, E) embedded actions, where a model made the features.
    """

    z: Tensor
    z_agg: Tensor
    codes: Tensor
    labels: Tensor
    factors: Tensor
    poses: Tensor
    loss: float
    actions: Tensor | None = None

    @property
    def z_1(self) -> Tensor:
        return self.z[:, 0]

    @property
    def z_mean(self) -> Tensor:
        return self.z.mean(1)

    def rows(self, which: Tensor) -> Features:
        """Of some sequences, (n,) bool; without a loss, whose mean is over all."""
        codes, actions = self.codes[which], None if self.actions is None else self.actions[which]
        known = self.labels[which], self.factors[which], self.poses[which]
        return Features(codes[:, : self.z.shape[1]], self.z_agg[which], codes, *known, float("nan"), actions)

    def pairs(self, most: int) -> tuple[Tensor, Tensor]:
        """Codes of consecutive views (k, 2D) and the actions between them (k, P), of at most ``most`` pairs'
        sequences."""
        rows = max(1, most // self.factors.shape[1])
        codes, count = self.codes[:rows], self.codes.shape[1] - 1
        return torch.cat([codes[:, :-1], codes[:, 1:]], 2).flatten(0, 1), self.factors[:rows, :count].flatten(0, 1)


@torch.no_grad()
def extract(
    method: SeqJEPA,
    fixed: FixedViews,
    chunk: int,
    *,
    loss: bool = False,
    target_codes: bool = False,
    by_target_branch: bool = False,
) -> Features:
    """Features of all sequences, in the mode the model is in.

    Args:
        chunk: sequences per pass.
        loss: also the mean prediction loss.
        target_codes: also encode the target view, with the encoder, or ``by_target_branch``.
    """
    losses: list[Tensor] = []

    def parts() -> Iterator[tuple[Tensor, ...]]:
        for batch in fixed.batches(chunk):
            observed, dtype = batch["observed"], batch["actions"].dtype
            m = len(observed)
            views = [*observed, *(batch["target"] if target_codes and not by_target_branch else ())]
            codes = method.encode(views)
            actions = method.action(batch["actions"])
            z_agg = method.aggregator(codes[:, :m], actions[:, :-1])
            if loss:
                losses.append(method.prediction_loss(z_agg, actions[:, -1], batch["target"][0]) * len(z_agg))
            if target_codes and by_target_branch:
                codes = torch.cat([codes, method.target(batch["target"][0])[:, None].to(codes.dtype)], dim=1)
            known = batch["labels"], batch["factors"], batch["poses"]
            yield codes.to(dtype), z_agg.to(dtype), *known, actions.to(dtype)

    codes, z_agg, labels, factors, poses, actions = joined_chunks(parts(), len(fixed))
    mean = float(torch.stack(losses).sum() / len(labels)) if loss else float("nan")
    return Features(codes[:, : factors.shape[1]], z_agg, codes, labels, factors, poses, mean, actions)


@torch.no_grad()
def aggregate(method: SeqJEPA, z: Tensor, actions: Tensor, chunk: int = 1024) -> Tensor:
    """Aggregates (n, T) of codes (n, M, D) and embedded actions between them (n, M-1, E), in the model's mode."""
    parts = [method.aggregator(*rows) for rows in zip(row_chunks(z, chunk), row_chunks(actions, chunk), strict=True)]
    return torch.cat(parts).to(z.dtype)


@torch.no_grad()
def shorter(
    method: SeqJEPA, fixed: FixedViews, chunk: int, counts: Collection[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Aggregate (n, T) and mean code (n, D) of the first k views of every sequence, for each k of ``counts``.

    One pass through the encoder serves all k: view i of a sequence is the same view whatever follows it.
    """

    def parts() -> Iterator[tuple[Tensor, ...]]:
        for batch in fixed.batches(chunk):
            dtype = batch["actions"].dtype
            codes, actions = method.encode(batch["observed"]), method.action(batch["actions"])
            yield tuple(
                value.to(dtype)
                for k in counts
                for value in (method.aggregator(codes[:, :k], actions[:, : k - 1]), codes[:, :k].mean(1))
            )

    found = joined_chunks(parts(), len(fixed))
    return dict(zip(counts, zip(found[::2], found[1::2], strict=True), strict=True))


def pixel_features(fixed: FixedViews, chunk: int) -> Features:
    """Raw pixels in the place of codes; the first view's in the place of the aggregate.

    Views above 32 pixels are averaged down: a probe on 49,152 numbers per view would say no more.
    """

    def parts() -> Iterator[tuple[Tensor, ...]]:
        for batch in fixed.batches(chunk):
            pixels = torch.stack([*batch["observed"], *batch["target"]], 1)
            if pixels.shape[-1] > 32:
                side = math.gcd(pixels.shape[-1], 32)
                pixels = F.adaptive_avg_pool2d(pixels.flatten(0, 1), side).view(*pixels.shape[:3], side, side)
            yield pixels.flatten(2), batch["labels"], batch["factors"], batch["poses"]

    codes, labels, factors, poses = joined_chunks(parts(), len(fixed))
    return Features(codes[:, :-1], codes[:, 0], codes, labels, factors, poses, float("nan"))


class Harvest:
    """Features that training batches produced anyway, the most recent LIMIT sequences of the epoch."""

    LIMIT = 8192

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, ...]] = []

    def add(self, features: dict[str, Tensor], labels: Tensor) -> None:
        """Keep a batch: features ``z`` (B, M, D) and ``z_agg`` (B, T), labels (B,)."""
        z = features["z"]
        self._rows.append((features["z_agg"], z[:, 0], z.mean(1), labels))
        if len(self._rows) > max(1, self.LIMIT // len(labels)):
            del self._rows[0]

    def take(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """(z_agg, z of view 1, mean z) and labels of what was kept, without unlabelled images, and start afresh."""
        *features, labels = (torch.cat(column) for column in zip(*self._rows, strict=True))
        self._rows = []
        known = labels >= 0
        return tuple(feature[known] for feature in features), labels[known]


@contextmanager
def batch_statistics(method: SeqJEPA) -> Iterator[None]:
    """Evaluation mode, but batch-norm normalises by the batch at hand and remembers nothing."""
    norms = [module for module in method.modules() if isinstance(module, GlobalBatchNorm)]
    with evaluating(method):
        for norm in norms:
            norm.training, norm.alone, norm.track = True, True, False
        try:
            yield
        finally:
            for norm in norms:
                norm.alone, norm.track = False, True
