"""What is measured on the fixed views, which are the same for every run, seed and epoch.

Two tiers, because a forward pass over all train images would cost a quarter of an epoch:

*every epoch* (:meth:`Health.live`, names ending in ``_live``): ridge classifiers fitted on the features that
the epoch's own training batches produced, scored on the held-out views. The held-out views are normalised
by their own batch statistics, as the training batches were. Follows the run; lags behind while it changes fast.

*probe epochs* (:meth:`Health.probe`): everything from the frozen model in evaluation
mode. Rungs, gates and tables read only these.

Metric names are ``name/feature@views``; accuracies are percent.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.images import ImageSet
from trainer.data.views import Batch, Views
from trainer.models.norm import GlobalBatchNorm
from trainer.models.seq_jepa import SeqJEPA
from trainer.probes.online import OnlineProbe
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_r2
from trainer.probes.ridge import Ridge

CHUNK = 256
# sequences per train and per held-out image: small sets are seen in several fixed poses, which takes the
# luck of one pose out of the score
FIXED_DRAWS = {"digits": (2, 4)}
Metrics = dict[str, float]


class Health:
    """Probes of one run on one split of held-out images.

    Args:
        split: ``validation`` everywhere in training and studies; ``test`` only in the command that reads it.
    """

    def __init__(self, config: RunConfig, images: ImageSet, views: Views, split: str = "validation"):
        self._config, self._classes = config, images.classes
        train_draws, held_draws = FIXED_DRAWS[config.data.name]
        self._train, self._held = views.fixed("train", train_draws), views.fixed(split, held_draws)
        self._held_once = views.fixed(split)
        self._m = config.data.observed_views

    def live(self, method: SeqJEPA, harvest: Harvest, online: OnlineProbe) -> Metrics:
        """Cheap metrics of a run in training; ``harvest`` holds the epoch's training features."""
        m = self._m
        with _batch_statistics(method):
            held = self._features(method, self._held_once)
        metrics, held_labels = self._spread(held, "_live"), self._held_once["labels"]
        fitted, labels = harvest.take()
        for name, feature in zip((f"z_agg@{m}", "z_1@1", f"z_mean@{m}"), fitted, strict=True):
            accuracy = Ridge(feature, labels, self._classes).accuracy(held[name], held_labels)
            metrics[f"linacc_live/{name}"] = accuracy
        metrics[f"online_linacc_live/z_agg@{m}"] = online.accuracy(held[f"z_agg@{m}"], held_labels)
        return metrics

    def probe(self, method: SeqJEPA, full: bool = True) -> Metrics:
        """Measure the frozen model: linear accuracies, effective ranks, prediction loss and, if ``full``,

        ``r2_action/z_pair``: the action between two views, read from their codes (equivariance);
        ``r2_pose``: the absolute pose of view 1, read by the same network from its code and from the
        aggregate, which should know less; ``linacc/z_agg@1``: the aggregate of view 1 alone.
        """
        with _evaluation(method):
            train, held = self._features(method, self._train, full), self._features(method, self._held, full)
            alone = [self._one_view_aggregate(method, f["z_1@1"]) for f in (train, held)] if full else []
        metrics = self._spread(held, "")
        labels, held_labels, m = self._train["labels"], self._held["labels"], self._m
        for name in (f"z_agg@{m}", "z_1@1", f"z_mean@{m}"):
            metrics[f"linacc/{name}"] = Ridge(train[name], labels, self._classes).accuracy(held[name], held_labels)
        if full:
            metrics["linacc/z_agg@1"] = Ridge(alone[0], labels, self._classes).accuracy(alone[1], held_labels)
            pairs = [self._pairs(f["codes"], b) for f, b in ((train, self._train), (held, self._held))]
            metrics[f"r2_action.{self._config.data.action_scale}/z_pair@2"] = mlp_r2(*pairs[0], *pairs[1])
            poses = self._train["poses"][:, 0], self._held["poses"][:, 0]
            for name in (f"z_agg@{m}", "z_1@1"):
                metrics[f"r2_pose/{name}"] = mlp_r2(train[name], poses[0], held[name], poses[1])
        return metrics

    def pixels(self) -> Metrics:
        """The same probes on raw pixels: what is there before anything is learnt."""
        flat = [torch.stack(b["observed"], 1).flatten(2) for b in (self._train, self._held)]
        labels = self._train["labels"], self._held["labels"]
        single = Ridge(flat[0][:, 0], labels[0], self._classes).accuracy(flat[1][:, 0], labels[1])
        mean = Ridge(flat[0].mean(1), labels[0], self._classes).accuracy(flat[1].mean(1), labels[1])
        codes = [torch.stack([*b["observed"], *b["target"]], 1).flatten(2) for b in (self._train, self._held)]
        pairs = [self._pairs(code, b) for code, b in zip(codes, (self._train, self._held), strict=True)]
        return {
            "linacc/pixels@1": single,
            f"linacc/pixels_mean@{self._m}": mean,
            f"r2_action.{self._config.data.action_scale}/pixels_pair@2": mlp_r2(*pairs[0], *pairs[1]),
        }

    def untrained(self, method: SeqJEPA) -> SeqJEPA:
        """A copy whose batch-norm statistics fit the train views: the fair untrained encoder.

        With its initial statistics (mean 0, variance 1) a fresh network would be judged on activations
        that have shrunk layer by layer.
        """
        fresh = copy.deepcopy(method).eval()
        for module in fresh.modules():
            if isinstance(module, GlobalBatchNorm):
                module.training, module.momentum, module.alone = True, 1.0, True
        with torch.no_grad(), self._autocast():
            z, actions = fresh.encode(self._train["observed"]), fresh.action(self._train["actions"])
            fresh.prediction_loss(fresh.aggregator(z, actions[:, :-1]), actions[:, -1], self._train["target"][0])
        return fresh

    def _spread(self, features: dict[str, Tensor], suffix: str) -> Metrics:
        metrics: Metrics = {f"predict{suffix}/z_hat@{self._m}": float(features["predict"])}
        for name in (f"z@{self._m}", f"z_agg@{self._m}"):
            metrics |= {f"{kind}{suffix}/{name}": rank for kind, rank in effective_ranks(features[name]).items()}
        return metrics

    @torch.no_grad()
    def _features(self, method: SeqJEPA, batch: Batch, target_codes: bool = False) -> dict[str, Tensor]:
        """Features of a whole split.

        For held-out images also the mean prediction loss, ``predict``; on request the encoder's codes of all
        M+1 views, ``codes`` (B, M+1, D).
        """
        m, parts, losses = self._m, [], []
        batch_statistics = any(module.training for module in method.modules() if isinstance(module, GlobalBatchNorm))
        chunk = len(batch["labels"]) if batch_statistics else CHUNK
        for rows in torch.arange(len(batch["labels"]), device=batch["labels"].device).split(chunk):
            views = [*batch["observed"], *(batch["target"] if target_codes else ())]
            with self._autocast():
                codes = method.encode([view[rows] for view in views])
                actions = method.action(batch["actions"][rows])
                z_agg = method.aggregator(codes[:, :m], actions[:, :-1])
                if batch is not self._train:
                    losses.append(method.prediction_loss(z_agg, actions[:, -1], batch["target"][0][rows]) * len(rows))
            parts.append((codes, z_agg))
        codes, z_agg = (torch.cat(part).to(batch["actions"].dtype) for part in zip(*parts, strict=True))
        z = codes[:, :m]
        features = {f"z_agg@{m}": z_agg, "z_1@1": z[:, 0], f"z_mean@{m}": z.mean(1), f"z@{m}": z.flatten(0, 1), "codes": codes}
        return features | ({"predict": torch.stack(losses).sum() / len(z)} if losses else {})

    @torch.no_grad()
    def _one_view_aggregate(self, method: SeqJEPA, code: Tensor) -> Tensor:
        with self._autocast():
            return method.aggregator(code[:, None], code.new_zeros(len(code), 0, self._config.model.action_dim)).to(code.dtype)

    @staticmethod
    def _pairs(codes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Consecutive codes (B*M, 2D) and the actions between them (B*M, A)."""
        return torch.cat([codes[:, :-1], codes[:, 1:]], 2).flatten(0, 1), batch["actions"].flatten(0, 1)

    def _autocast(self) -> torch.autocast:
        device = self._train["actions"].device.type
        return torch.autocast(device, torch.bfloat16, enabled=self._config.precision == "bf16")


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
        """(z_agg, z of view 1, mean z) and labels of what was kept, and start afresh."""
        *features, labels = (torch.cat(column) for column in zip(*self._rows, strict=True))
        self._rows = []
        return tuple(features), labels


@contextmanager
def _evaluation(method: SeqJEPA) -> Iterator[None]:
    method.eval()
    try:
        yield
    finally:
        method.train()


@contextmanager
def _batch_statistics(method: SeqJEPA) -> Iterator[None]:
    """Evaluation mode, but batch-norm normalises by the batch at hand and remembers nothing."""
    norms = [module for module in method.modules() if isinstance(module, GlobalBatchNorm)]
    method.eval()
    for norm in norms:
        norm.training, norm.alone, norm.track = True, True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.alone, norm.track = False, True
        method.train()
