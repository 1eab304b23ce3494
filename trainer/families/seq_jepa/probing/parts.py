"""The features of one model on one split, encoded once for every probe of an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config.data import PLANAR
from trainer.data.images import ImageSet
from trainer.data.row_chunks import joined_chunks, row_chunks
from trainer.data.views import Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.features import (
    Features,
    aggregate,
    batch_statistics,
    extract,
    pixel_features,
    shorter,
)
from trainer.families.seq_jepa.probing.health import CHUNK, FIXED_DRAWS, PIXEL_IMAGES
from trainer.families.seq_jepa.probing.path import path_features
from trainer.method import evaluating
from trainer.subspace.sweeps import planar_pictures, unmoved


@dataclass(frozen=True)
class Part:
    """A split's features: ``rows`` by name ``feature@views``, the M-view ``features`` and inputs of path
    integration."""

    rows: dict[str, Tensor]
    features: Features
    path: dict[str, Tensor]


class Parts:
    """Makes the features of a split, in evaluation mode (or as ``eval.probe_bn`` says).

    Args:
        counts: numbers k of views to aggregate.
    """

    def __init__(self, config: SeqJEPAConfig, images: ImageSet, views: Views, counts: Collection[int]):
        self._config, self._images, self._views = config, images, views
        self._m, self._counts = config.data.observed_views, counts

    def of(self, method: SeqJEPA, split: str) -> Part:
        """A model's features; ``rows`` are those that :mod:`trainer.families.seq_jepa.probing.suite` names."""
        m, draws = self._m, self._draws(split)
        with self.frozen(method):
            by_target = self._config.eval.pair_target == "target_branch"
            fixed = self._views.fixed(split, draws)
            features = extract(method, fixed, CHUNK, loss=True, target_codes=True, by_target_branch=by_target)
            z = features.z
            rows = {"z_1@1": z[:, 0], f"z_agg@{m}": features.z_agg}
            rows["z_agg@1"] = aggregate(method, z[:, :1], z.new_zeros(len(z), 0, features.actions.shape[2]))
            if m > 1:  # of one view the mean is z_1, and there are no actions to zero
                rows[f"z_mean@{m}"] = z.mean(1)
                rows[f"z_agg_no_actions@{m}"] = aggregate(method, z, torch.zeros_like(features.actions[:, :-1]))
            others = [k for k in self._counts if k not in (1, m)]
            if others:
                longest = self._views.fixed(split, draws, max(others))
                for k, (z_agg, z_mean) in shorter(method, longest, CHUNK, others).items():
                    rows |= {f"z_agg@{k}": z_agg, f"z_mean@{k}": z_mean}
            no_original = self._config.data.transform in ("object", "glimpse")
            rows["z_res@1"] = rows["z_1@1"] if no_original else self._originals(method, split, z.dtype).repeat(draws, 1)
            return Part(rows, features, path_features(method, features))

    def of_pixels(self, split: str) -> Part:
        """Raw pixels of the first PIXEL_IMAGES images."""
        found = pixel_features(self._views.fixed(split, self._draws(split)).limited(PIXEL_IMAGES), CHUNK)
        mean = {f"pixels_mean@{self._m}": found.z_mean} if self._m > 1 else {}
        return Part({"pixels@1": found.z_1, **mean}, found, {})

    @contextmanager
    def frozen(self, method: SeqJEPA) -> Iterator[None]:
        """The mode and precision in which features are taken."""
        mode = batch_statistics if self._config.eval.probe_bn == "train" else evaluating
        device = self._images.labels.device.type
        with mode(method), torch.autocast(device, torch.bfloat16, enabled=self._config.precision == "bf16"):
            yield

    def _draws(self, split: str) -> int:
        """Sequences per image, as many as the probes of training use."""
        train, held = FIXED_DRAWS.get(self._config.data.name, (1, 1))
        return train if split == "train" else held

    @torch.no_grad()
    def _originals(self, method: SeqJEPA, split: str, dtype: torch.dtype) -> Tensor:
        """Codes of the images themselves; a planar one unmoved, in its place on the canvas."""
        everything = self._images.splits[split]

        def chunks() -> Iterator[tuple[Tensor]]:
            for index in row_chunks(everything, CHUNK):
                if self._config.data.transform in PLANAR:
                    images = planar_pictures(self._config, self._images, index, unmoved())
                else:
                    images = self._views.images_of(index)
                yield (method.encode([images])[:, 0].to(dtype),)

        return joined_chunks(chunks(), len(everything))[0]
