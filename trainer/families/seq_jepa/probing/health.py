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
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from trainer.blocks.norm import GlobalBatchNorm
from trainer.config import SETS
from trainer.data.images import ImageSet
from trainer.data.views import FixedViews, Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.features import (
    Features,
    Harvest,
    batch_statistics,
    extract,
    pixel_features,
)
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.method import evaluating
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_fitted, mlp_r2, r2
from trainer.probes.ridge import Ridge

CHUNK = 256
# sequences per train and per held-out image: small sets are seen in several fixed poses, which takes the
# luck of one pose out of the score
FIXED_DRAWS = {"digits": (2, 4), "mini3d": (2, 4)}
PIXEL_IMAGES, PAIRS = 5_000, 50_000
"""Limits that digits do not reach: a ridge on raw pixels and the action probe need no more to say what they say."""
Metrics = dict[str, float]


class Health:
    """Probes of one run on one split of held-out images.

    Args:
        split: default the configured ``data.select_on``; ``test`` only for runs that say so.
    """

    def __init__(self, config: SeqJEPAConfig, images: ImageSet, views: Views):
        self._config, self._classes = config, images.classes
        self.split = config.data.select_on
        train_draws, held_draws = FIXED_DRAWS.get(config.data.name, (1, 1))
        self._views = views
        self._train, self._held = views.fixed("train", train_draws), views.fixed(self.split, held_draws)
        self._held_once = views.fixed(self.split)
        self._m = config.data.observed_views

    def live(self, method: SeqJEPA, harvest: Harvest, online: OnlineProbe) -> Metrics:
        """Cheap metrics of a run in training; ``harvest`` holds the epoch's training features."""
        m = self._m
        with batch_statistics(method):
            # large chunks: their own statistics are what normalises them
            held = self.extract(method, self._held_once, 512, loss=True, codes=online.reads_actions)
        metrics = self._spread(held, "_live")
        fitted, labels = harvest.take()
        names = f"z_agg@{m}", "z_1@1", f"z_mean@{m}"
        for name, feature, held_feature in zip(names, fitted, (held.z_agg, held.z[:, 0], held.z.mean(1)), strict=True):
            accuracy = Ridge(feature, labels, self._classes).accuracy(held_feature, held.labels)
            metrics[f"linacc_live/{name}"] = accuracy
        metrics[f"online_linacc_live/z_agg@{m}"] = online.accuracy(held.z_agg, held.labels)
        if online.reads_actions:
            metrics[f"online_r2_action_live.{self._scale}/z_pair@2"] = online.action_r2(
                held.codes[:, 0], held.codes[:, 1], held.factors[:, 0]
            )
        return metrics

    def features(self, method: SeqJEPA, codes: bool = True) -> tuple[Features, Features]:
        """Of the train and the held-out views, from the frozen model; with ``codes`` also of the target views."""
        with self.frozen(method):
            train = self.extract(method, self._train, CHUNK, codes=codes)
            return train, self.extract(method, self._held, CHUNK, codes=codes, loss=True)

    def frozen(self, method: SeqJEPA) -> AbstractContextManager[None]:
        """The mode that a frozen model is measured in."""
        return batch_statistics(method) if self._config.eval.probe_bn == "train" else evaluating(method)

    def probe(self, method: SeqJEPA, full: bool = True, made: tuple[Features, Features] | None = None) -> Metrics:
        """Measure the frozen model: linear accuracies, effective ranks, prediction loss and, if ``full``,

        ``r2_action/z_pair``: the action between two views, read from their codes (equivariance), and per factor;
        ``r2_pose``: the absolute pose of view 1, read by the same network from its code and from the
        aggregate, which should know less; ``linacc/z_agg@1``: the aggregate of view 1 alone.

        Args:
            made: its :meth:`features`, where they are known.
        """
        train, held = made or self.features(method, full)
        with self.frozen(method):
            alone = [self._one_view_aggregate(method, f.z[:, 0]) for f in (train, held)] if full else []
        metrics = self._spread(held, "")
        m = self._m
        for name, feature in ((f"z_agg@{m}", "z_agg"), ("z_1@1", "z_1"), (f"z_mean@{m}", "z_mean")):
            ridge = Ridge(getattr(train, feature), train.labels, self._classes)
            metrics[f"linacc/{name}"] = ridge.accuracy(getattr(held, feature), held.labels)
        if full:
            metrics["linacc/z_agg@1"] = Ridge(alone[0], train.labels, self._classes).accuracy(alone[1], held.labels)
            metrics |= self._actions(train, held, "z_pair")
            for name, feature in ((f"z_agg@{m}", "z_agg"), ("z_1@1", "z_1")):
                poses = train.poses[:, 0], held.poses[:, 0]
                metrics[f"r2_pose/{name}"] = mlp_r2(getattr(train, feature), poses[0], getattr(held, feature), poses[1])
        return metrics

    def pixels(self) -> Metrics:
        """The same probes on raw pixels: what is there before anything is learnt."""
        train, held = (
            pixel_features(f, CHUNK) for f in (self._train.limited(PIXEL_IMAGES), self._held.limited(PIXEL_IMAGES))
        )
        single = Ridge(train.codes[:, 0], train.labels, self._classes).accuracy(held.codes[:, 0], held.labels)
        observed = [f.codes[:, : self._m].mean(1) for f in (train, held)]
        mean = Ridge(observed[0], train.labels, self._classes).accuracy(observed[1], held.labels)
        return {
            "linacc/pixels@1": single,
            f"linacc/pixels_mean@{self._m}": mean,
            **self._actions(train, held, "pixels_pair"),
        }

    def untrained(self, method: SeqJEPA) -> SeqJEPA:
        """A copy whose batch-norm statistics fit the train views: the fair untrained encoder.

        With its initial statistics (mean 0, variance 1) a fresh network would be judged on activations
        that have shrunk layer by layer.
        """
        fresh = copy.deepcopy(method).eval()
        norms = [module for module in fresh.modules() if isinstance(module, GlobalBatchNorm)]
        # as many sequences as fit a stated number of pixels, in passes of a quarter of that
        pixels = (self._m + 1) * SETS[self._config.data.name].channels * self._config.data.canvas**2
        most, size = (max(64, min(4096, budget // pixels)) for budget in (2**24, 2**22))
        for seen, batch in enumerate(self._train.limited(most).batches(size), start=1):
            for norm in norms:
                # the average over batches so far
                norm.training, norm.momentum, norm.alone = True, 1 / seen, True
            with torch.no_grad(), self._autocast():
                z, actions = fresh.encode(batch["observed"]), fresh.action(batch["actions"])
                fresh.prediction_loss(fresh.aggregator(z, actions[:, :-1]), actions[:, -1], batch["target"][0])
        # a teacher that uses the encoder's statistics starts from them
        fresh.target_branch.follow(fresh.encoder, 0.0)
        return fresh.eval()  # its norms were training

    @property
    def _scale(self) -> str:
        return self._config.data.action_scale

    def _actions(self, train: Features, held: Features, feature: str) -> Metrics:
        """R2 of the actions between consecutive views, over all components and per factor."""
        read = mlp_fitted(*train.pairs(PAIRS))  # pairs of pixels take hundreds of MiB, so one split's at a time
        held_pairs, held_goals = held.pairs(PAIRS)
        prediction = read(held_pairs)
        whole = r2(held_goals, prediction)
        metrics = {f"r2_action.{self._scale}/{feature}@2": whole}
        factors = self._views.transform.factors
        if len(factors) > 1:
            for factor, part in factors.items():
                metrics[f"r2_{factor}.{self._scale}/{feature}@2"] = r2(held_goals[:, part], prediction[:, part])
        if padding := self._config.data.pad_action:
            # as the research log reported it: constant components count as 0
            live = held_goals.shape[1]
            metrics[f"r2_action_with_constants.{self._scale}/{feature}@2"] = whole * live / (live + padding)
        return metrics

    def _spread(self, held: Features, suffix: str) -> Metrics:
        metrics: Metrics = {f"predict{suffix}/z_hat@{self._m}": held.loss}
        for name, feature in ((f"z@{self._m}", held.z.flatten(0, 1)), (f"z_agg@{self._m}", held.z_agg)):
            metrics |= {f"{kind}{suffix}/{name}": rank for kind, rank in effective_ranks(feature).items()}
        return metrics

    def extract(
        self, method: SeqJEPA, fixed: FixedViews, chunk: int, loss: bool = False, codes: bool = False
    ) -> Features:
        """Features of fixed views as the run's configuration has them, in the mode that the model is in."""
        pair_target = self._config.eval.pair_target == "target_branch"
        with self._autocast():
            return extract(method, fixed, chunk, loss=loss, target_codes=codes, by_target_branch=pair_target)

    @torch.no_grad()
    def _one_view_aggregate(self, method: SeqJEPA, code: Tensor) -> Tensor:
        with self._autocast():
            nothing = code.new_zeros(len(code), 0, self._config.model.action_dim)
            return method.aggregator(code[:, None], nothing).to(code.dtype)

    def _autocast(self) -> torch.autocast:
        device = self._train.labels.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self._config.precision == "bf16")
