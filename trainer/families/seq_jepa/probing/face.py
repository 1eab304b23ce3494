"""When each of the family's measurements is made, and what the loop sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.data.images import ImageSet
from trainer.data.views import Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.features import Harvest
from trainer.families.seq_jepa.probing.health import Health
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.method import Evaluation, Metrics, Output, Probes
from trainer.source import Batch


class SeqJEPAProbes(Probes):
    """Probes of one run.

    Attributes:
        online: probes trained beside the model, on every worker.
    """

    def __init__(self, config: SeqJEPAConfig, images: ImageSet, views: Views, method: SeqJEPA, device: torch.device):
        self._config, self._images, self._views = config, images, views
        self.split = config.data.select_on
        pair = (2 * method.encoder.features, views.transform.parameters) if config.eval.action_probe else None
        self.online = OnlineProbe(method.aggregator.width, images.classes, device, pair)
        self.optimisers = (self.online.optimiser,)
        self._harvest = Harvest()
        self._made: Health | None = None

    @property
    def health(self) -> Health:
        """Fixed views of the train and the selection split, on the worker that measures."""
        self._made = self._made or Health(self._config, self._images, self._views)
        return self._made

    def untrained(self, method: SeqJEPA) -> SeqJEPA:
        return self.health.untrained(method)

    def begin(self, method: SeqJEPA) -> None:
        if self._config.eval.subspace.epochs:
            # most runs need not pay for importing scipy
            from trainer.families.seq_jepa.probing.diagnostics import Diagnostics

            self._subspace = Diagnostics(self._config, self._images, self._views, self.untrained(method), self.split)

    def at_start(self, method: SeqJEPA, baselines: bool) -> Metrics:
        metrics = self.probe(self.untrained(method), full=baselines)
        return metrics | self.health.pixels() if baselines else metrics

    def probe(self, method: SeqJEPA, full: bool = True) -> Metrics:
        """Of the frozen model."""
        return self.health.probe(method, full)

    def observe(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        self.online.observe(output.features, batch["labels"], batch["factors"])
        return {"labels": batch["labels"], **output.features}

    def keep(self, kept: dict[str, Tensor]) -> None:
        self._harvest.add(kept, kept["labels"])

    def after_epoch(self, method: SeqJEPA, epoch: int, full: bool, folder: Path) -> Metrics:
        metrics: Metrics = {}
        if full or epoch % self._config.eval.live_every == 0:
            metrics |= self.health.live(method, self._harvest, self.online)
        self._harvest = Harvest()
        if full:
            metrics |= self.probe(method)
        if epoch in self._config.eval.subspace.epochs:
            metrics |= self._subspace.at_epoch(method, folder, epoch, metrics)
        return metrics

    def evaluate(self, method: SeqJEPA, untrained: SeqJEPA, wanted: Evaluation) -> Metrics:
        from trainer.families.seq_jepa.probing.suite import Suite

        probes = {"paper": wanted.paper, "ridge": wanted.ridge, "epochs": wanted.epochs, "say": wanted.say}
        suite = Suite(self._config, self._images, self._views, wanted.split, wanted.views, **probes)
        metrics = suite.measure(method, untrained, self.online)
        if wanted.subspace is not None:
            metrics |= self._swept(method, untrained, wanted, wanted.subspace, metrics)
        return metrics

    def _swept(self, method: SeqJEPA, untrained: SeqJEPA, wanted: Evaluation, path: Path, metrics: Metrics) -> Metrics:
        from trainer.families.seq_jepa.probing.about import about
        from trainer.families.seq_jepa.probing.diagnostics import Diagnostics
        from trainer.subspace.summary import save_arrays

        diagnostics = Diagnostics(self._config, self._images, self._views, untrained, wanted.split)
        wanted.say(diagnostics.about_to())
        found = diagnostics.measure(method)
        save_arrays(path, found.arrays | about(self._config, wanted.epoch, wanted.split, metrics))
        wanted.say(f"draw them: python -m analysis.figures.subspace_plots {path} {path.with_suffix('')}")
        return found.metrics

    def state_dict(self) -> dict[str, Any]:
        return self.online.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.online.load_state_dict(state)
