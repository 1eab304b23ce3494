"""What is measured: linear and nearest-neighbour accuracy of pooled features, and monitors that can see a collapse.

Features are those of the target encoder on whole images, the mean of their tokens (``z_agg``), and the tokens
themselves (``z``); with a pyramid also the mean of each of its levels (``level0`` from the finest), and without one a
level's mean is that of the tokens. Standard deviation, cosine and rank are taken over *images*: over tokens or
channels, positions and norms keep them high whatever the images share. Names are ``name/feature@views``, and every
image is one view. Of a mixture each set is measured by itself, with its own labels, as ``name.set/feature@views``; the
plain names are those of the set that is ``data.name``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.images import ImageSet, Member
from trainer.data.row_chunks import joined_chunks
from trainer.families.h_jepa.config import HJEPAConfig
from trainer.families.h_jepa.distance import chance
from trainer.families.h_jepa.masked_views import MaskedViews
from trainer.families.h_jepa.masks import draw_masks
from trainer.families.h_jepa.method import HJEPA
from trainer.method import Evaluation, Method, Metrics, Probes, evaluating
from trainer.probes.neighbours import knn_accuracy
from trainer.probes.protocol import classifier_accuracies
from trainer.probes.ranks import effective_ranks
from trainer.probes.ridge import Ridge

CHUNK = 256
PIXELS, TOKENS = 5_000, 20_000
"""Images of a ridge on raw pixels, and patches whose rank is taken, at most."""
CHANCE_SEED, LOSS_IMAGES = 0, 1_024


class HJEPAProbes(Probes):
    """Probes of one run, on the split that it is selected by unless told otherwise."""

    def __init__(self, config: HJEPAConfig, images: ImageSet, source: MaskedViews, device: torch.device):
        self._config, self._images, self._source, self._device = config, images, source, device
        self.split = config.data.select_on

    def at_start(self, method: Method, baselines: bool) -> Metrics:
        fresh = self.untrained(method)
        metrics = self._each(lambda one: self._measured(fresh, one, self.split)) | self._chance()
        return metrics | self._each(lambda one: self._pixels(one, self.split)) if baselines else metrics

    def after_epoch(self, method: HJEPA, epoch: int, full: bool, folder: Path) -> Metrics:
        if full:
            return self._each(lambda one: _also_live(self._measured(method, one, self.split)))
        return {} if epoch % self._config.eval.live_every else self._each(lambda one: self._live(method, one))

    def evaluate(self, method: HJEPA, untrained: HJEPA, wanted: Evaluation) -> Metrics:
        wanted.say("features of whole images, of the trained and of the untrained target encoder")
        probed = {"ridge": wanted.ridge, "paper": wanted.epochs if wanted.paper else 0}
        trained = self._each(lambda one: self._measured(method, one, wanted.split, **probed))
        before = self._each(lambda one: self._measured(untrained, one, wanted.split, **probed))
        named = {name.replace("/", "/untrained_", 1): value for name, value in before.items()}
        return trained | named | self._chance() | self._each(lambda one: self._pixels(one, wanted.split))

    def _each(self, measure: Callable[[ImageSet | Member], Metrics]) -> Metrics:
        """What is measured of the images, or of each set of a mixture under names that tell the set."""
        metrics: Metrics = {}
        for name, one in self._images.members.items():
            found = measure(one)
            metrics |= {key.replace("/", f".{name}/", 1): value for key, value in found.items()}
            if name == self._config.data.name:
                metrics |= found
        return metrics or measure(self._images)

    # --- one model on one split

    def _measured(
        self, method: HJEPA, of: ImageSet | Member, split: str, ridge: bool = True, paper: int = 0
    ) -> Metrics:
        """All metrics of one set; ``paper`` is the number of epochs of the linear layer trained by Adam, 0 for none."""
        train, _, train_levels = self._features(method, of.splits["train"])
        held, tokens, held_levels = self._features(method, of.splits[split])
        labels, held_labels = (self._images.labels[of.splits[part]] for part in ("train", split))
        classes = of.classes
        metrics: Metrics = {}
        pooled = {"z_agg": (train, held)}
        pooled |= {f"level{n}": pair for n, pair in enumerate(zip(train_levels, held_levels, strict=True))}
        for name, (fitted, scored) in pooled.items():
            if ridge:
                metrics[f"linacc/{name}@1"] = Ridge(fitted, labels, classes).accuracy(scored, held_labels)
            for k, accuracy in knn_accuracy(fitted, labels, scored, held_labels, classes).items():
                metrics[f"knn{k}/{name}@1"] = accuracy
        if paper:
            scored = classifier_accuracies({"z_agg": train}, labels, {"z_agg": held}, held_labels, classes, paper)
            metrics["linacc_paper/z_agg@1"] = scored["z_agg"]
        metrics |= {f"{name}/z_agg@1": value for name, value in spread(held).items()}
        metrics |= {f"{kind}/z@1": rank for kind, rank in effective_ranks(tokens).items()}
        return metrics | {"predict/z_hat@1": self._loss(method, of.splits[split])}

    def _live(self, method: HJEPA, of: ImageSet | Member) -> Metrics:
        """The cheap ones."""
        pooled, _, _ = self._features(method, of.splits[self.split])
        found = {f"{name}_live/z_agg@1": value for name, value in spread(pooled).items()}
        return found | {"predict_live/z_hat@1": self._loss(method, of.splits[self.split])}

    @torch.no_grad()
    def _features(self, method: HJEPA, index: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(n, D) pooled, a sample of (m, D) patches, and with a pyramid (n, W) of each of its levels."""
        each = max(1, TOKENS // len(index))

        def chunks() -> Iterator[tuple[Tensor, ...]]:
            for whole in self._source.fixed(index, CHUNK):
                tokens = method.target.encoder.tokens(whole)
                stride = max(1, tokens.shape[1] // each)
                levels = method.target.maps(tokens) if method.target.pyramid is not None else []
                pooled = [one.mean(1).to(whole.dtype) for one in (tokens, *levels)]
                yield tokens[:, ::stride].to(whole.dtype), *pooled

        with evaluating(method), self._autocast():
            patches, pooled, *levels = joined_chunks(chunks(), len(index))
        return pooled, patches.flatten(0, 1), levels

    @torch.no_grad()
    def _loss(self, method: HJEPA, index: Tensor) -> float:
        """Weighted sum of the levels' losses on whole images, under masks that are the same for every run."""
        config, total, count = self._config, 0.0, 0
        with evaluating(method), self._autocast():
            for number, whole in enumerate(self._source.fixed(index, CHUNK)):
                if number * CHUNK >= LOSS_IMAGES:
                    break
                model = config.model
                masks = draw_masks(model.masks, config.grid, model.levels, len(whole), CHANCE_SEED, number)
                terms = method.of_levels(whole, masks.to(self._device))
                total += len(whole) * sum(method.weights[name] * float(value) for name, value in terms.items())
                count += len(whole)
        return total / count

    def _chance(self) -> Metrics:
        """What the prediction loss is if nothing is known: of a constant prediction, and of another image's target."""
        objective, model = self._config.objective, self._config.model
        width = model.fpn.width if model.fpn else model.encoder.features
        found = chance(objective.normalise, objective.beta, width)
        return {f"chance_{name}/z_hat@1": sum(objective.level_weights) * value for name, value in found.items()}

    def _pixels(self, of: ImageSet | Member, split: str) -> Metrics:
        """Linear and nearest-neighbour accuracy of raw pixels."""
        parts = [of.splits[part][:PIXELS] for part in ("train", split)]
        rows = [joined_chunks(((_small(whole),) for whole in self._source.fixed(part, CHUNK)), len(part))[0]
                for part in parts]  # fmt: skip
        labels = [self._images.labels[part] for part in parts]
        near = knn_accuracy(rows[0], labels[0], rows[1], labels[1], of.classes)
        metrics = {"linacc/pixels@1": Ridge(rows[0], labels[0], of.classes).accuracy(rows[1], labels[1])}
        return metrics | {f"knn{k}/pixels@1": accuracy for k, accuracy in near.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16")


def spread(features: Tensor) -> Metrics:
    """How far (n, d) features of n images differ: effective ranks, the mean standard deviation of a dimension, and the
    mean cosine of two images' features, which is 1 when all are alike."""
    wide = features.double() if features.device.type != "mps" else features.cpu().double()
    unit = F.normalize(wide, dim=1)
    n = len(unit)
    cosine = (unit.sum(0).square().sum() - n) / (n * (n - 1))
    return effective_ranks(features) | {"std": float(wide.std(0).mean()), "pair_cosine": float(cosine)}


def _also_live(metrics: Metrics) -> Metrics:
    """The same, and under the names of the cheap ones those of them."""
    shown = ("rank_pr/z_agg", "rank_sv/z_agg", "rankme/z_agg", "std/z_agg", "pair_cosine/z_agg", "predict/z_hat")
    return metrics | {f"{name.replace('/', '_live/')}@1": metrics[f"{name}@1"] for name in shown}


def _small(images: Tensor) -> Tensor:
    """Pixels as rows; above 32 pixels a side they are averaged down: a probe on more would say no more."""
    if images.shape[-1] > 32:
        images = F.adaptive_avg_pool2d(images, 32)
    return images.flatten(1)
