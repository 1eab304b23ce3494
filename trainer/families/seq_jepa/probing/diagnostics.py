"""The subspace diagnostics of one run: its sweeps, encoded by the model and by what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.images import ImageSet
from trainer.data.views import Views
from trainer.errors import UsageError
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.about import about
from trainer.families.seq_jepa.probing.features import aggregate
from trainer.families.seq_jepa.probing.white_box import WhiteBoxLayers
from trainer.method import evaluating
from trainer.subspace.summary import Summary, Sweeps, load_arrays, save_arrays, summary
from trainer.subspace.sweeps import Pictures, factor_sweeps

_LISTS = ("factors", "angles", "codes", "units")
MOST_PIXELS = 784
"""Components of the pixel baseline; larger pictures are averaged down to at most as many."""


class Diagnostics:
    """Measures the codes z (unnamed in metric names) and aggregates ``z_agg@k`` on factor sweeps.

    ``z_agg@1`` is the aggregate of the swept view alone. For k > 1 the sequence moves through the sweep as a whole, its
    further views at fixed offsets from the first (``trainer.subspace.sweeps.Pictures.sequence``) with the actions
    between
    them: what is left in z_agg@k is what the aggregate keeps of the pose that its views have in common.

    Baselines on the same pictures: ``pixels``, and ``untrained``: z of the untrained encoder. White-box layers are
    measured beside the sweeps, on ordinary sequences, and of a model that has some they are measured also where the
    data have no factor to sweep.

    Args:
        untrained: with fitted batch-norm statistics (``Health.untrained``).
        split: whose first ``eval.subspace.anchors`` images are swept.

    Raises:
        UsageError: the data set has no sweeps, or the split fewer than 4 images.
    """

    def __init__(self, config: SeqJEPAConfig, images: ImageSet, views: Views, untrained: SeqJEPA, split: str):
        settings = config.eval.subspace
        index = images.splits[split][: settings.anchors]
        if len(index) < 4:
            raise UsageError(
                f"subspace diagnostics need 4 images, the {split} split has {len(index)}; raise data.sizes"
            )
        self._config, self._untrained, self._views, self._split = config, untrained, views, split
        observed = config.data.observed_views
        self._counts = sorted(set(settings.views or (1, min(2, observed), observed)))
        self._layers = WhiteBoxLayers(config, views, split) if config.model.white_box else None
        swept = config.data.swept or self._layers is None
        self.pictures = factor_sweeps(config, images, views, index, settings.steps) if swept else {}
        if swept and not self.pictures:
            raise UsageError(f"no factor of data.transform={config.data.transform} varies; there is nothing to sweep")

    def about_to(self) -> str:
        """What will be measured, in words."""
        sweeps = f"sweeps of {', '.join(self.pictures)}" if self.pictures else "no sweeps: the data have no such factor"
        layers = "not measured, the model has none" if self._layers is None else "measured on ordinary sequences"
        return f"subspace diagnostics: {sweeps}; white-box layers: {layers}"

    @torch.no_grad()
    def measure(self, method: SeqJEPA, previous: Mapping[str, np.ndarray] | None = None) -> Summary:
        """All metrics and arrays of the model as it is.

        Args:
            previous: arrays of the last evaluation, for stability.
        """
        layers = Summary({}, {}) if self._layers is None else self._layers.measure(method, self._untrained)
        if not self.pictures:
            return Summary(layers.metrics, layers.arrays | {name: np.array([], str) for name in _LISTS})
        names = ["z", *(f"z_agg@{k}" for k in self._counts), "pixels", "untrained"]
        found: dict[str, dict[str, tuple[Tensor, Tensor]]] = {name: {} for name in names}
        with evaluating(method):
            for factor, sweep in self.pictures.items():
                parts: dict[str, list[Tensor]] = {name: [] for name in found}
                for part in sweep.parts():
                    batch = sweep.render(part)
                    z = self._codes(method, batch)
                    parts["z"].append(z)
                    for k, z_agg in self._aggregates(method, z, sweep, part).items():
                        parts[f"z_agg@{k}"].append(z_agg)
                    parts["pixels"].append(small(batch).flatten(1))
                    parts["untrained"].append(self._codes(self._untrained, batch))
                for name, rows in parts.items():
                    codes = torch.cat(rows)
                    found[name][factor] = sweep.values, codes.view(sweep.anchors, len(sweep.values), -1)
        z: Sweeps = found.pop("z")
        angles = [factor for factor, sweep in self.pictures.items() if sweep.angle]
        made = summary(z, angles=angles, baselines=found, previous=previous)
        units = np.array([sweep.unit for sweep in self.pictures.values()])
        return Summary(made.metrics | layers.metrics, made.arrays | {"units": units} | layers.arrays)

    def at_epoch(self, method: SeqJEPA, folder: Path, epoch: int, measured: Mapping[str, float]) -> dict[str, float]:
        """The metrics of a run in training; its arrays go to ``folder/subspace-epoch<k>.npz``, whole or not at all.

        Stability is measured against the arrays of the configured epoch before this one, also after a resume.

        Args:
            measured: the epoch's other metrics, among which the figures find the run's score.
        """
        earlier = [
            k for k in sorted(self._config.eval.subspace.epochs) if k < epoch and _arrays_of(folder, k).is_file()
        ]
        found = self.measure(method, load_arrays(_arrays_of(folder, earlier[-1])) if earlier else None)
        save_arrays(_arrays_of(folder, epoch), found.arrays | about(self._config, epoch, self._split, measured))
        return found.metrics

    def _codes(self, method: SeqJEPA, pictures: Tensor) -> Tensor:
        return self._run(lambda: method.encode([pictures])[:, 0], pictures)

    def _aggregates(self, method: SeqJEPA, z: Tensor, sweep: Pictures, part: Tensor) -> dict[int, Tensor]:
        """The aggregate of the first k views of every sequence, for each k; the first views' codes z are at hand."""
        codes, actions = z[:, None], z.new_zeros(len(z), 0, self._config.model.action_dim)
        if self._counts[-1] > 1:
            further, parameters = sweep.sequence(part, self._counts[-1])
            codes = torch.stack([z, *(self._codes(method, view) for view in further)], dim=1)
            conditions = self._views.model_actions(parameters)
            actions = self._run(lambda: method.action(conditions), z)
        prefixes = {k: (codes[:, :k], actions[:, : k - 1]) for k in self._counts}
        return {k: self._run(lambda rows=rows: aggregate(method, *rows), z) for k, rows in prefixes.items()}

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
