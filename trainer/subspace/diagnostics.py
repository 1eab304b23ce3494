"""The subspace diagnostics of one run: its sweeps, encoded by the model and by what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.images import ImageSet
from trainer.data.views import Views
from trainer.errors import UsageError
from trainer.models.seq_jepa import SeqJEPA
from trainer.probes.features import aggregate, evaluation
from trainer.subspace.summary import Summary, Sweeps, load_arrays, save_arrays, summary
from trainer.subspace.sweeps import factor_sweeps

MOST_PIXELS = 784
"""Components of the pixel baseline; larger pictures are averaged down to at most as many."""


class Diagnostics:
    """Measures the codes z (unnamed in metric names) and ``z_agg@1`` (the aggregate of that one view) on factor sweeps.

    Baselines on the same pictures: ``pixels``, and ``untrained``: z of the untrained encoder.

    Args:
        untrained: with fitted batch-norm statistics (``Health.untrained``).
        split: whose first ``eval.subspace.anchors`` images are swept.

    Raises:
        UsageError: the data set has no sweeps, or the split fewer than 4 images.
    """

    def __init__(self, config: RunConfig, images: ImageSet, views: Views, untrained: SeqJEPA, split: str):
        settings = config.eval.subspace
        index = images.splits[split][: settings.anchors]
        if len(index) < 4:
            raise UsageError(f"subspace diagnostics need 4 images, the {split} split has {len(index)}; raise data.sizes")
        self._config, self._untrained = config, untrained
        self.pictures = factor_sweeps(config, images, views, index, settings.steps)
        if not self.pictures:
            raise UsageError(f"no factor of data.transform={config.data.transform} varies; there is nothing to sweep")

    @torch.no_grad()
    def measure(self, method: SeqJEPA, previous: Mapping[str, np.ndarray] | None = None) -> Summary:
        """All metrics and arrays of the model as it is.

        Args:
            previous: arrays of the last evaluation, for stability.
        """
        found: dict[str, dict[str, tuple[Tensor, Tensor]]] = {"z": {}, "z_agg@1": {}, "pixels": {}, "untrained": {}}
        with evaluation(method):
            for factor, sweep in self.pictures.items():
                parts: dict[str, list[Tensor]] = {name: [] for name in found}
                for batch in sweep.batches():
                    z = self._codes(method, batch)
                    parts["z"].append(z)
                    parts["z_agg@1"].append(self._alone(method, z))
                    parts["pixels"].append(small(batch).flatten(1))
                    parts["untrained"].append(self._codes(self._untrained, batch))
                for name, rows in parts.items():
                    codes = torch.cat(rows)
                    found[name][factor] = sweep.values, codes.view(sweep.anchors, len(sweep.values), -1)
        z: Sweeps = found.pop("z")
        angles = [factor for factor, sweep in self.pictures.items() if sweep.angle]
        return summary(z, angles=angles, baselines=found, previous=previous)

    def at_epoch(self, method: SeqJEPA, folder: Path, epoch: int) -> dict[str, float]:
        """The metrics of a run in training; its arrays go to ``folder/subspace-epoch<k>.npz``, whole or not at all.

        Stability is measured against the arrays of the configured epoch before this one, also after a resume.
        """
        earlier = [k for k in sorted(self._config.eval.subspace.epochs) if k < epoch and _arrays_of(folder, k).is_file()]
        found = self.measure(method, load_arrays(_arrays_of(folder, earlier[-1])) if earlier else None)
        save_arrays(_arrays_of(folder, epoch), found.arrays)
        return found.metrics

    def _codes(self, method: SeqJEPA, pictures: Tensor) -> Tensor:
        return self._run(lambda: method.encode([pictures])[:, 0], pictures)

    def _alone(self, method: SeqJEPA, z: Tensor) -> Tensor:
        return self._run(lambda: aggregate(method, z[:, None], z.new_zeros(len(z), 0, self._config.model.action_dim)), z)

    def _run(self, compute: Callable[[], Tensor], like: Tensor) -> Tensor:
        with torch.autocast(like.device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            return compute().to(like.dtype)


def _arrays_of(folder: Path, epoch: int) -> Path:
    return folder / f"subspace-epoch{epoch}.npz"


def small(pictures: Tensor) -> Tensor:
    """(n, C, s, s) averaged down to at most MOST_PIXELS components, or as they are if they have no more."""
    channels, side = pictures.shape[1], pictures.shape[-1]
    fits = isqrt(MOST_PIXELS // channels)
    return pictures if side <= fits else F.adaptive_avg_pool2d(pictures, fits)
