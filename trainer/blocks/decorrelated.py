"""A convolution whose input channels lose their correlations first."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecorrelatedConv(nn.Module):
    """``conv(R x)``: in training R <- R - rate x offdiag(correlation of R x) R, with rows of unit norm.

    R is no parameter: it moves towards what has no correlations in the batches it sees, and follows where these change.
    """

    def __init__(self, conv: nn.Conv2d, rate: float):
        super().__init__()
        self.conv, self.rate = conv, rate
        self.register_buffer("mix", torch.eye(conv.in_channels))

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.conv2d(x, self.mix.to(x.dtype).clone()[:, :, None, None])
        if self.training:
            self._move(mixed.detach())
        return self.conv(mixed)

    @torch.no_grad()
    def _move(self, mixed: Tensor) -> None:
        rows = mixed.float().transpose(0, 1).flatten(1)
        rows = rows - rows.mean(1, keepdim=True)
        rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
        correlation = (rows @ rows.T).to(self.mix.dtype)
        correlation.fill_diagonal_(0)
        self.mix.sub_(self.rate * correlation @ self.mix)
        self.mix.div_(self.mix.norm(dim=1, keepdim=True).clamp_min(1e-6))


def decorrelate(network: nn.Module, stage: nn.Module, rate: float) -> None:
    """Exchange the first convolution of a block of ``network``, in place."""
    first = next(module for module in stage.modules() if isinstance(module, nn.Conv2d))
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is first:
                setattr(parent, name, DecorrelatedConv(first, rate))
                return
