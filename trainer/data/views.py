"""Batches of views and actions: the data side's single door to the loop.

A batch is a dict:

``observed``  list of M tensors (B, C, H, W)
``target``    list with the view to predict
``actions``   (B, M, A): actions[:, i] leads from view i to view i+1, the last one to the target
``reversed_actions``  the same for the views in reverse order, where they are asked for
``factors``   (B, M, P): all components of the actions, whatever the model is told, and ``poses`` (B, M+1, P), the
              absolute parameters of every view; for probes only
``step``      int64 scalar, in training batches
``labels``    (B,) class, -1 in training batches for images outside the train split, and ``index`` (B,) position in the
image set; for probes only
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import SETS, DataConfig, RunConfig
from trainer.data.epochs import Epochs
from trainer.data.images import ImageSet
from trainer.data.philox import Purpose, uniforms
from trainer.data.row_chunks import row_chunks
from trainer.source import Batch, Plan


def make_transform(config: DataConfig, images: ImageSet) -> Any:
    """The configured relation between views; all have the methods of :class:`trainer.data.planar.Planar`."""
    side = SETS[config.name].side
    if config.transform == "augment":
        from trainer.data.augment import Augment

        return Augment(config, side)
    if config.transform == "glimpse":
        from trainer.data.glimpses import Glimpses

        return Glimpses(config, side, images.extras.get("saliency"))
    if config.transform == "object":
        from trainer.data.object_views import ObjectViews

        return ObjectViews(config, images.extras["quaternion"], images.extras["hue"])
    from trainer.data.planar import Planar

    return Planar(config)


class Views(Epochs):
    """A :class:`trainer.source.Plannable`: renders training batches in a fixed random order, and fixed views for
    evaluation.

    Args:
        reverse: batches also have ``reversed_actions``. The others: see :class:`trainer.data.epochs.Epochs`.
    """

    for_probes = ("poses", "index")

    def __init__(
        self,
        config: RunConfig,
        images: ImageSet,
        dtype: torch.dtype,
        rank: int = 0,
        world: int = 1,
        reverse: bool = False,
    ):
        super().__init__(config, images, dtype, rank, world)
        self._reverse = reverse
        self.transform = make_transform(config.data, images)
        told = (
            self.transform.parameters
            if self.transform.told == slice(None)
            else self.transform.told.stop - self.transform.told.start
        )
        self.action_dim = told + config.data.pad_action
        statistics = SETS[config.data.name].statistics if config.data.normalize == "dataset" else None
        if statistics is not None:
            mean, std = (torch.tensor(row, dtype=dtype, device=self.device).view(-1, 1, 1) for row in statistics)
            self._statistics: tuple[Tensor, Tensor] | None = (mean, std)
        else:
            self._statistics = None
        self._action_std = self._training_std() if config.data.action_scale == "feature_std" else None

    def next(self) -> Batch:
        """This worker's share of the next training batch."""
        plan = self.plan(self.step)
        self.step += 1
        return self.render(plan)

    def plan(self, step: int) -> Plan:
        """What decides a training batch: ``draw`` (B,) int64, the numbers ``epoch`` and ``step``, and where the images
        are not on the device ``stored``, their rows, which are read while the step before is computed, and
        ``parameters``, which choosing the rows took.
        """
        plan: Plan = {"draw": self._drawn(step), "epoch": step // self._config.steps_per_epoch, "step": step}
        if self._elsewhere:
            plan["parameters"], stored = self._ahead.pop(step, None) or self._fetch(step)
            # if another step is asked for next, nothing is lost
            self._ahead = {step + 1: self._fetch(step + 1)}
            plan["stored"] = stored()
        return plan

    def render(self, plan: Plan) -> Batch:
        """The training batch of a plan, whose numbers may also be int64 scalars on the device; nothing here waits for
        it."""
        draw, step = plan["draw"], plan["step"]
        index, parameters = plan.get("parameters") or self._parameters(draw, plan["epoch"])
        stored = plan["stored"] if self._elsewhere else self._images.images[self.transform.rows(index, parameters)]
        batch = self._batch(index, parameters, stored)
        batch["labels"] = self._train_labels[index]
        # a tensor, so that a compiled step is not compiled anew for every number
        batch["step"] = (
            step if isinstance(step, Tensor) else torch.full((), step, dtype=torch.int64, device=self.device)
        )
        return batch

    def compile(self) -> None:
        """Render pixels with fused kernels from now on: they differ from the plain ones in the last bits, at most
        1e-6."""
        self._pixels = torch.compile(self._pixels, dynamic=False)  # type: ignore[method-assign]

    def fixed(self, split: str, draws: int = 1, views: int | None = None) -> FixedViews:
        """The same views of a whole split for every run, seed and epoch.

        Args:
            draws: how many sequences of each image, one set after the other.
            views: observed views; default M. More or fewer change only which views are rendered after the first ones.
        """
        return FixedViews(self, self._images.splits[split], draws, views or self._config.data.observed_views)

    def images_of(self, index: Tensor) -> Tensor:
        """The stored images themselves, (B, C, H, W) in [0, 1], normalised as views are; an object's first picture."""
        first = index if self.transform.per_image else index * SETS[self._config.data.name].views
        return self._normal(self._floating(self._images.images[first]))

    def model_actions(self, parameters: Any) -> Tensor:
        """(B, V-1, A) the actions between V views with these parameters, as the model is conditioned on them."""
        return self._told(self._scaled(parameters))

    def _parameters(self, draw: Tensor, epoch: int | Tensor) -> tuple[Tensor, Any]:
        """Images and drawn parameters of training draws (B,)."""
        pool = self._images.splits["pretrain"]
        index = pool[draw % len(pool)]
        views = self._config.data.observed_views + 1
        return index, self._draw(index, draw, self._config.seed, Purpose.TRAIN_VIEWS, epoch, views)

    def _fetch(self, step: int) -> tuple[tuple[Tensor, Any], Callable[[], Tensor]]:
        """Images and parameters of a step, and what waits for their stored rows, which are not on the device."""
        index, parameters = self._parameters(self._drawn(step), step // self._config.steps_per_epoch)
        return (index, parameters), self._reader.submit(self._read, self.transform.rows(index, parameters)).result

    def _fixed(self, parts: list[tuple[Tensor, int]], observed: int) -> Iterator[Batch]:
        """A batch per (images, draw)."""
        drawn = [(index, self._draw(index, index, 0, Purpose.FIXED_VIEWS, draw, observed + 1)) for index, draw in parts]
        rows = (self.transform.rows(*one) for one in drawn)
        source = self._images.images
        stored = source.prefetch((r.cpu() for r in rows), self.device) if self._elsewhere else (source[r] for r in rows)
        for (index, parameters), pixels in zip(drawn, stored, strict=True):
            yield self._batch(index, parameters, pixels)

    def _batch(self, index: Tensor, parameters: Any, stored: Tensor) -> Batch:
        *observed, target = self._pixels(stored, parameters)
        batch = {"observed": observed, "target": [target], "labels": self._images.labels[index], "index": index}
        factors = self._scaled(parameters)
        batch["factors"], batch["actions"] = factors, self._told(factors)
        batch["poses"] = self.transform.absolute(parameters).to(self._dtype)
        if self._reverse:
            batch["reversed_actions"] = self._told(self._scaled(self.transform.reverse(parameters)))
        return batch

    def _pixels(self, stored: Tensor, parameters: Any) -> list[Tensor]:
        """The rendered, normalised views (V tensors) of stored images (B, C, H, W) uint8."""
        return [self._normal(view) for view in self.transform.render(self._floating(stored), parameters)]

    def _draw(self, index: Tensor, draw: Tensor, seed: int, purpose: Purpose, epoch: int | Tensor, views: int) -> Any:
        numbers = uniforms(seed, purpose, epoch, draw, self.transform.numbers(views))
        return self.transform.draw(numbers, index, views)

    def _normal(self, view: Tensor) -> Tensor:
        return view if self._statistics is None else (view - self._statistics[0]) / self._statistics[1]

    def _scaled(self, parameters: Any) -> Tensor:
        """(B, M, P) actions in the configured scaling, all components."""
        if self._config.data.action_scale == "views":
            # over the views of the sequence, as the paper's code has it
            actions = F.normalize(self.transform.absolute(parameters), dim=1).diff(dim=1)
        else:
            actions = self.transform.actions(parameters)
        return (actions if self._action_std is None else actions / self._action_std).to(self._dtype)

    def _told(self, factors: Tensor) -> Tensor:
        told = factors[..., self.transform.told]
        return F.pad(told, (0, self._config.data.pad_action)) if self._config.data.pad_action else told

    def _training_std(self) -> Tensor:
        """Per-component standard deviation over 4,096 fixed draws: about 1 % accurate, and a constant."""
        draw = torch.arange(4096, device=self.device)
        train = self._images.splits["train"]
        views = self._config.data.observed_views + 1
        parts = []
        for rows in row_chunks(draw, 256):  # a glimpse's draw holds a map of the whole image per sequence
            parameters = self._draw(train[rows % len(train)], rows, 0, Purpose.FIXED_VIEWS, 2**31, views)
            parts.append(self.transform.actions(parameters).flatten(0, 1).cpu().double())  # MPS has no double precision
        std = torch.cat(parts).std(0)
        return torch.where(std > 1e-6, std, 1.0).float().to(self.device)


class FixedViews:
    """Fixed sequences of a split: ``len`` of them, rendered chunk by chunk, and kept where they are small.

    Attributes:
        labels: (n,) class of every sequence.
    """

    KEEP_BYTES = {"cuda": 2**30}
    """Kept up to this size; on other devices up to an eighth of it, where rendering costs no launches and memory is
    shared."""

    def __init__(self, source: Views, index: Tensor, draws: int, observed: int):
        self._source, self._index, self._draws, self._observed = source, index, draws, observed
        self._kept: list[Batch] | None = None
        self.labels = source._images.labels[index].repeat(draws)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of ``size`` sequences, the last of a draw as :func:`row_chunks` has it; draw after draw, in the
        split's order."""
        if self._kept is None or self._size != size:
            limit = self.KEEP_BYTES.get(self.labels.device.type, 2**27)
            made: list[Batch] | None = []
            kept_bytes = 0
            parts = [(rows, draw) for draw in range(self._draws) for rows in row_chunks(self._index, size)]
            for batch in self._source._fixed(parts, self._observed):
                views = [*batch["observed"], *batch["target"]]
                kept_bytes += sum(view.numel() * view.element_size() for view in views)
                if made is not None:
                    made.append(batch)
                    if kept_bytes > limit:
                        made = None
                yield batch
            self._kept, self._size = made, size
        else:
            yield from self._kept

    def limited(self, most: int) -> FixedViews:
        """The sequences of the first ``most`` images."""
        return FixedViews(self._source, self._index[:most], self._draws, self._observed)
