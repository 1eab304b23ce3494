"""What is measured of a stream: a matrix row at the end of every segment, beside the family's own probes.

After segment t every segment i has an entry: for accuracy and R2 a probe fitted on the fixed train views of segments
1..max(t, i) and scored on the held-out views of segment i, so earlier segments are judged by one probe of all that was
seen, and a later one by the probe it will be judged by when it is over. Views, splits and probes are the same at
every t. Entries are named ``name.seg<i>/feature@views``, metrics of the matrix ``name.<metric>/feature@views`` (see
:mod:`trainer.probes.continual`). ``name.frozen_first_acc`` is the last row of a model that stopped learning at the end
of the first segment, and stays on record to the end. ``cka.seg<i>`` compares a segment's codes with those at its own
end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.blocks.stream_norm import set_segment
from trainer.data.images import ImageSet
from trainer.data.sources.stream import Stream
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.continual.method import StreamJEPA
from trainer.families.seq_jepa.probing.face import SeqJEPAProbes
from trainer.families.seq_jepa.probing.features import Features
from trainer.families.seq_jepa.probing.health import CHUNK, FIXED_DRAWS, PAIRS
from trainer.method import Metrics, Output
from trainer.probes.continual import cka, summary
from trainer.probes.neighbours import knn_accuracy
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_prediction, r2
from trainer.probes.ridge import Ridge
from trainer.source import Batch

Rows = dict[str, list[float]]
"""A matrix row by metric."""


@dataclass(frozen=True)
class Seen:
    """Features of a segment's fixed train and held-out views."""

    train: Features
    held: Features


class StreamProbes(SeqJEPAProbes):
    """Probes of one stream."""

    def __init__(
        self, config: SeqJEPAConfig, images: ImageSet, views: Stream, method: StreamJEPA, device: torch.device
    ):
        super().__init__(config, images, views, method, device)
        self._stream, self._classes = views, images.classes
        self._m, self._scale = config.data.observed_views, config.data.action_scale
        self._matrix: dict[str, list[list[float]]] = {}
        self._untrained: Rows = {}
        self._own_end: list[Tensor] = []
        self._frozen: Metrics = {}
        self._progress = Progress()
        self._fixed: list[tuple[Any, Any]] | None = None
        # where a segment is some of the images and nothing else, its views and features are among those of the split
        self._among = config.data.stream.kind in ("classes", "stationary") and config.model.norm != "per_segment"
        self._probed: tuple[StreamJEPA, tuple[Features, Features] | None] | None = None

    # --- in training

    def observe(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        self._progress.add(self.online, output.features, batch)
        return super().observe(output, batch)

    def at_start(self, method: StreamJEPA, baselines: bool) -> Metrics:
        metrics = super().at_start(method, baselines)
        self._untrained = self._row(self._features(), -1)
        return metrics | self._named(self._untrained)

    def probe(self, method: StreamJEPA, full: bool = True) -> Metrics:
        made = self.health.features(method) if self._among else None
        self._probed = method, made
        return self.health.probe(method, full, made)

    def after_epoch(self, method: StreamJEPA, epoch: int, full: bool, folder: Path) -> Metrics:
        stream = self._config.data.stream
        ends = epoch % stream.checks == 0
        metrics = super().after_epoch(method, epoch, full or ends, folder) | self._progress.take(self._m, self._scale)
        if self._stream.memory is not None:
            metrics["memory_mib"] = self._stream.memory.bytes / 2**20
        if not ends:
            self._probed = None
            return metrics
        after = epoch // stream.checks - 1
        features = self._features()
        row = self._row(features, after)
        for name, values in row.items():
            self._matrix.setdefault(name, []).append(values)
            for kind, value in summary(self._matrix[name], self._untrained.get(name)).items():
                metrics[_with(name, kind)] = value
        metrics |= self._named(row) | self._drift(features, after)
        if after == 0 and stream.order == "segments" and self._stream.segments > 1:
            # what it would be worth had it stopped learning here: later probes only see more classes
            self._frozen = self._frozen_first(features)
        return metrics | self._frozen

    # --- matrix

    def _features(self) -> list[Seen]:
        """Of all segments, from the model that was just probed."""
        (method, whole), self._probed = self._probed, None
        if whole is not None:
            width = self._classes // self._stream.segments
            number = [one.labels // width for one in whole]
            return [
                Seen(*(one.rows(of == segment) for one, of in zip(whole, number, strict=True)))
                for segment in range(self._stream.segments)
            ]
        if self._fixed is None:
            draws, held_draws = FIXED_DRAWS.get(self._config.data.name, (1, 1))
            parts = [self._stream.at(segment) for segment in range(self._stream.segments)]
            self._fixed = [(one.fixed("train", draws), one.fixed(self.split, held_draws)) for one in parts]
        # with the statistics of each where a norm has its own
        found, now = [], int(method.segment)
        with self.health.frozen(method):
            for segment, parts in enumerate(self._fixed):
                set_segment(method, min(segment, now))
                found.append(Seen(*(self.health.extract(method, fixed, CHUNK, codes=True) for fixed in parts)))
        set_segment(method, now)
        return found

    def _row(self, features: list[Seen], after: int) -> Rows:
        """Entries of all segments, of a model that has seen segments 0..after (-1: none)."""
        count = len(features)
        names = f"linacc/z_agg@{self._m}", "linacc/z_1@1", f"knn20/z_agg@{self._m}", self._r2, *self._ranks
        row: Rows = {name: [float("nan")] * count for name in names}
        for until in range(max(after, 0), count):
            judged = range(until + 1) if until == after else [until]
            train = [one.train for one in features[: until + 1]]
            labels = torch.cat([one.labels for one in train])
            for name, of in ((names[0], "z_agg"), (names[1], "z_1")):
                ridge = Ridge(torch.cat([getattr(one, of) for one in train]), labels, self._classes)
                for i in judged:
                    row[name][i] = ridge.accuracy(getattr(features[i].held, of), features[i].held.labels)
            pairs, goals = (torch.cat(column) for column in zip(*(one.pairs(PAIRS) for one in train), strict=True))
            held = [features[i].held.pairs(PAIRS) for i in judged]
            read = mlp_prediction(pairs, goals, torch.cat([one for one, _ in held]))
            keys = torch.cat([one.z_agg for one in train])
            for i, (_, truth), guess in zip(judged, held, read.split([len(one) for one, _ in held]), strict=True):
                row[self._r2][i] = r2(truth, guess)
                of = features[i].held
                row[names[2]][i] = knn_accuracy(keys, labels, of.z_agg, of.labels, self._classes)[20]
        for i, one in enumerate(features):
            for name, part in zip(self._ranks, (one.held.z.flatten(0, 1), one.held.z_agg), strict=True):
                row[name][i] = effective_ranks(part)["rank_pr"]
        return row

    @property
    def _r2(self) -> str:
        return f"r2_action.{self._scale}/z_pair@2"

    @property
    def _ranks(self) -> tuple[str, str]:
        return f"rank_pr/z@{self._m}", f"rank_pr/z_agg@{self._m}"

    def _named(self, row: Rows) -> Metrics:
        return {
            _with(name, f"seg{i}"): value for name, values in row.items() for i, value in enumerate(values, start=1)
        }

    def _frozen_first(self, features: list[Seen]) -> Metrics:
        last = self._row(features, len(features) - 1)
        return {_with(name, "frozen_first_acc"): sum(values) / len(values) for name, values in last.items()}

    def _drift(self, features: list[Seen], after: int) -> Metrics:
        """CKA of each finished segment's held-out codes with those at its end."""
        self._own_end.append(features[after].held.z_1.float())
        values = [cka(own, one.held.z_1) for own, one in zip(self._own_end, features, strict=False)]
        earlier = {"cka.earlier/z_1@1": sum(values[:-1]) / (len(values) - 1)} if after else {}
        return earlier | {f"cka.seg{i}/z_1@1": value for i, value in enumerate(values, start=1)}

    def state_dict(self) -> dict[str, Any]:
        own = {"matrix": self._matrix, "untrained": self._untrained, "own_end": list(self._own_end)}
        own["frozen"] = dict(self._frozen)
        return {"online": super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state["online"])
        self._matrix = {name: [list(row) for row in rows] for name, rows in state["matrix"].items()}
        self._untrained, self._own_end = dict(state["untrained"]), list(state["own_end"])
        self._frozen = dict(state.get("frozen", {}))


class Progress:
    """Progressive validation: every batch is predicted by the probes beside the model before they learn from it."""

    def __init__(self) -> None:
        self._right: list[Tensor] = []
        self._known: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._rows = 0

    @torch.no_grad()
    def add(self, online: Any, features: dict[str, Tensor], batch: Batch) -> None:
        labels = batch["labels"]
        known = labels >= 0
        guess = online.linear(features["z_agg"].detach().float()).argmax(1)
        self._right.append(((guess == labels) & known).sum())
        self._known.append(known.sum())
        if online.reads_actions and features["z"].shape[1] > 1:
            new = batch.get("new", slice(None))
            truth = batch["factors"][new, 0].double()
            read = online.actions(features["z"][new, :2].detach().float().flatten(1)).double()
            moments = [(truth - read).square().sum(0), truth.sum(0), truth.square().sum(0)]
            self._sums.append(torch.stack(moments))
            self._rows += len(truth)

    def take(self, views: int, scale: str) -> Metrics:
        """Of the batches since the last call."""
        if not self._known:
            return {}
        known = int(torch.stack(self._known).sum())
        metrics: Metrics = {}
        if known:
            metrics[f"progressive_linacc/z_agg@{views}"] = 100 * int(torch.stack(self._right).sum()) / known
        if self._sums:
            residual, total, square = torch.stack(self._sums).sum(0)
            spread = square - total.square() / self._rows
            alive = spread > 1e-9 * self._rows
            metrics[f"progressive_r2_action.{scale}/z_pair@2"] = float((1 - residual[alive] / spread[alive]).mean())
        self.__init__()
        return metrics


def _with(name: str, kind: str) -> str:
    """``linacc/z_agg@3`` and ``acc`` to ``linacc.acc/z_agg@3``."""
    what, _, feature = name.partition("/")
    return f"{what}.{kind}/{feature}"
