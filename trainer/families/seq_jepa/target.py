"""The target branch: which network encodes the view to predict, with which batch-norm statistics, and who gets
gradient.

``teacher``: ``ema``, a moving average of the encoder; ``stopgrad``, the encoder without gradient; ``shared``, the
encoder with gradient (the collapse control). Batch-norm of the branch is ``target_bn``:

``batch``             the statistics of the target views themselves. The ema teacher keeps its own running statistics of
                      them; a second pass through the encoder keeps none unless ``double_bn``.
``ema_buffers_eval``  stored statistics: the encoder's running ones, and for the ema teacher their moving average.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.blocks.faces import Encoder
from trainer.blocks.norm import GlobalBatchNorm
from trainer.families.seq_jepa.config import EmaConfig, ObjectiveConfig


class TargetBranch(nn.Module):
    """Encodes target views; owns the moving-average teacher, if there is one.

    Attributes:
        average: the teacher, or None.
    """

    def __init__(self, objective: ObjectiveConfig, encoder: Encoder):
        super().__init__()
        self.objective = objective
        ema = objective.teacher == "ema"
        self.average = copy.deepcopy(encoder).requires_grad_(False) if ema else None

    def forward(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Codes (B, D) of (B, C, H, W) target views."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.objective.teacher == "shared"):
            network = encoder if self.average is None else self.average
            track = self.average is not None or self.objective.double_bn
            with _norms(network, track, stored=self.objective.target_bn == "ema_buffers_eval"):
                return pooled(network, images)

    @torch.no_grad()
    def follow(self, encoder: Encoder, tau: float | Tensor) -> None:
        """Move the teacher to tau x itself + (1 - tau) x encoder; buffers only if they are used."""
        if self.average is None:
            return
        _move(list(self.average.parameters()), list(encoder.parameters()), tau)
        if self.objective.target_bn == "ema_buffers_eval":
            _move(list(self.average.buffers()), list(encoder.buffers()), tau)


def pooled(encoder: Encoder, images: Tensor) -> Tensor:
    """Codes (N, D) of (N, C, H, W) images: the mean token."""
    return encoder.tokens(images).mean(1)


def _move(average: list[Tensor], towards: list[Tensor], tau: float | Tensor) -> None:
    if isinstance(tau, Tensor):  # a scalar on the device; the one-kernel form takes numbers only
        torch._foreach_mul_(average, tau)
        torch._foreach_add_(average, torch._foreach_mul(towards, 1 - tau))
    else:
        torch._foreach_lerp_(average, towards, 1 - tau)


@contextmanager
def _norms(encoder: Encoder, track: bool, stored: bool) -> Iterator[None]:
    norms = [module for module in encoder.modules() if isinstance(module, GlobalBatchNorm)]
    before = [(norm.training, norm.track) for norm in norms]
    for norm in norms:
        norm.training, norm.track = norm.training and not stored, norm.track and track
    try:
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track = training, tracked


def ema_decay(config: EmaConfig, step: int, horizon: int, steps_per_epoch: int = 1) -> float:
    """tau of the update after ``step`` (from 0) of ``horizon`` steps.

    From a half-life of h horizons, tau = 2^(-1/(h T)); annealed as in BYOL (arXiv 2006.07733):
    1 - (1 - tau)(cos(pi step/T) + 1)/2, with ``per_epoch`` at the epoch's first step.
    """
    tau = config.decay if config.decay is not None else 2 ** (-1 / (config.half_life * horizon))
    if not config.anneal:
        return tau
    if config.per_epoch:
        step -= step % steps_per_epoch
    return 1 - (1 - tau) * (math.cos(math.pi * step / horizon) + 1) / 2
