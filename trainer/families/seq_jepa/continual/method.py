"""seq-JEPA that is trained on a stream: it notices the ends of segments and may hold what mattered before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from trainer.blocks.stream_norm import set_segment
from trainer.data.sources.stream import Stream
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.losses.consolidation import Consolidation, information
from trainer.method import Output
from trainer.source import Batch


class StreamJEPA(SeqJEPA):
    """The method; ``source`` is asked where segments end, and for sequences of the one that does."""

    def __init__(self, config: SeqJEPAConfig, channels: int, source: Stream):
        super().__init__(config, channels, source.action_dim)
        # plain functions are not copied with the model, and a copy of it must not copy the images
        self._ends: Callable[[int], bool] = lambda step: source.ends_segment(step)
        self._of_segment: Callable[[int], Stream] = lambda segment: source.at(segment)
        self._last = source.segments - 1
        self.register_buffer("segment", torch.zeros((), dtype=torch.int64))
        settings = config.objective.consolidate
        self.consolidation: Consolidation | None = None
        if settings is not None:
            self.consolidation = Consolidation(settings, self._held())
            # the strength is the penalty's own: its value is recorded as it enters the loss
            self.weights["consolidate"] = 1.0

    def _held(self) -> dict[str, torch.nn.Parameter]:
        """What the prediction loss trains: encoder, embedding, aggregator and predictor."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad and not name.startswith("regularisers.")
        }

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        if self.consolidation is not None:
            dtype = output.terms["predict"].dtype
            output.terms["consolidate"] = self.consolidation.penalty().to(dtype)
        return output

    def schedule(self, step: int) -> dict[str, float | None]:
        return {**super().schedule(step), "segment_ends": 1.0 if self._ends(step + 1) else None}

    def after_step(self, scalars: Mapping[str, float | Tensor]) -> None:
        super().after_step(scalars)
        if self.consolidation is not None:
            self.consolidation.after_step()
        if "segment_ends" not in scalars:
            return
        segment = int(self.segment)
        if self.consolidation is not None and segment < self._last:
            self.consolidation.end_segment(self._information(segment))
        if segment < self._last:
            self.segment += 1
            set_segment(self, segment + 1)

    def _information(self, segment: int) -> dict[str, Tensor] | None:
        settings = self._config.objective.consolidate
        if settings.samples is None:  # a kind whose importances are not estimated
            return None
        self.eval()
        try:
            return information(
                self._held(), self._single_losses(segment, settings.samples), "one_sample_less" in settings.quirks
            )
        finally:
            self.train()

    def _single_losses(self, segment: int, samples: int) -> Iterator[Callable[[], tuple[Tensor, float]]]:
        """The prediction loss of one sequence at a time, of the segment's first ``samples`` training images."""
        for batch in self._of_segment(segment).fixed("train").limited(samples).batches(256):
            for row in range(len(batch["actions"])):
                one = slice(row, row + 1)

                def loss(batch: Batch = batch, one: slice = one) -> tuple[Tensor, float]:
                    z = self.encode([view[one] for view in batch["observed"]])
                    actions = self.action(batch["actions"][one])
                    z_agg = self.aggregator(z, actions[:, :-1])
                    return self.prediction_loss(z_agg, actions[:, -1], batch["target"][0][one]), 1.0

                yield loss
