"""Normalisation that does not need a batch: for small batches, and for streams whose statistics move.

``running``      stored statistics, which every batch moves first.
``frozen``       the same in the first segment, and what they were at its end from then on.
``per_segment``  stored statistics of each segment.
``group``        over groups of an example's own channels; nothing is stored.

With stored statistics no gradient flows through them, in training as in evaluation, and one example is a batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import world
from trainer.blocks.norm import GlobalBatchNorm

ROWS = 640
"""Statistics are moved by rows / ROWS of a batch, at most by ``momentum``: 0.1 from 64 rows on, as batch-norm does."""
GROUP = 8
"""Channels of a group, where there are so many."""


class StoredNorm(GlobalBatchNorm):
    """Stored statistics, one set or one per segment.

    Args:
        like: the norm it takes the place of, whose parameters it takes over.
        sets: of statistics.
        freezes: they rest after the first segment.
    """

    def __init__(self, like: GlobalBatchNorm, sets: int, freezes: bool):
        channels = like.running_mean.shape[0]
        super().__init__(channels, like.eps, like.momentum, like.weight is not None)
        self.weight, self.bias, self.track, self.freezes = like.weight, like.bias, like.track, freezes
        self.register_buffer("running_mean", torch.zeros(sets, channels))
        self.register_buffer("running_var", torch.ones(sets, channels))
        self.register_buffer("segment", torch.zeros((), dtype=torch.int64))
        self.register_buffer("batches", torch.zeros(sets, dtype=torch.int64))
        # the same numbers beside the device, which no step then waits for
        self._at, self._seen = 0, [0] * sets
        self.register_load_state_dict_post_hook(lambda module, _: module._read())

    def enter(self, segment: int) -> None:
        """Use the statistics of a segment."""
        self.segment.fill_(segment)
        self._at = segment

    def _read(self) -> None:
        self._at, self._seen = int(self.segment), self.batches.tolist()

    @property
    def _set(self) -> int:
        return min(self._at, len(self.running_mean) - 1)

    def forward(self, x: Tensor) -> Tensor:
        resting = self.freezes and self._at > 0
        if self.training and self.track and not resting:
            self._move(x.detach())
        # copies: the next pass may move them before backward has read them
        mean, var = self.running_mean[self._set].clone(), self.running_var[self._set].clone()
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)

    @torch.no_grad()
    def _move(self, x: Tensor) -> None:
        count = x.numel() // x.shape[1]
        if count < 2:
            return  # one number has no variance
        over = [0, *range(2, x.dim())]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, square = world.mean_over_workers(torch.stack([wide.mean(over), wide.square().mean(over)]))
        var = (square - mean.square()).clamp_min(0) * (count / (count - 1))
        if self.alone:  # an untrained model measured: all segments' statistics are those of what it is shown
            sets, share = slice(None), self.momentum
        else:
            sets = self._set
            self.batches[sets] += 1
            self._seen[sets] += 1
            # the average of all batches so far, until there are so many that the oldest are forgotten
            share = max(min(self.momentum, len(x) * world.size() / ROWS), 1 / self._seen[sets])
        self.running_mean[sets] += share * (mean.to(self.running_mean.dtype) - self.running_mean[sets])
        self.running_var[sets] += share * (var.to(self.running_var.dtype) - self.running_var[sets])


class GroupNorm(GlobalBatchNorm):
    """Group-norm in the place of a batch-norm, with its parameters."""

    def __init__(self, like: GlobalBatchNorm):
        channels = like.running_mean.shape[0]
        super().__init__(channels, like.eps, like.momentum, like.weight is not None)
        self.weight, self.bias = like.weight, like.bias
        self.groups = next(count for count in range(max(1, channels // GROUP), 0, -1) if channels % count == 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)


def replace_norms(model: nn.Module, policy: str, segments: int) -> None:
    """Exchange every batch-norm of a model, in place; its random numbers and parameters stay.

    Args:
        policy: see the module; ``batch`` leaves them as they are.
        segments: of the stream; 1 without one.
    """
    if policy == "batch":
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, GlobalBatchNorm):
                setattr(parent, name, _instead(child, policy, segments))


def _instead(norm: GlobalBatchNorm, policy: str, segments: int) -> GlobalBatchNorm:
    if policy == "group":
        return GroupNorm(norm)
    return StoredNorm(norm, segments if policy == "per_segment" else 1, policy == "frozen")


def set_segment(model: nn.Module, segment: int) -> None:
    """Tell every norm of a model in which segment it is."""
    for module in model.modules():
        if isinstance(module, StoredNorm):
            module.enter(segment)
