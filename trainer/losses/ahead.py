"""A loss whose gradient is taken at once, so that the activations behind it can be freed before the next block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def ahead(loss: Tensor, parameters: Sequence[nn.Parameter], keep: bool = False, most: float | None = None) -> Tensor:
    """The loss's value, which backward multiplies into the gradient to ``parameters`` found here, and to nothing else.

    Args:
        keep: the graph behind the loss is needed again.
        most: what the norm of the gradient is clipped to.
    """
    found = torch.autograd.grad(loss, list(parameters), retain_graph=keep, allow_unused=True)
    pairs = [(one, gradient) for one, gradient in zip(parameters, found, strict=True) if gradient is not None]
    if not pairs:
        return loss.detach()
    if most is not None:
        norm = torch.stack([gradient.norm() for _, gradient in pairs]).norm()
        share = (most / norm.clamp_min(1e-12)).clamp_max(1.0)
        pairs = [(one, gradient * share) for one, gradient in pairs]
    return _Known.apply(loss.detach(), [gradient for _, gradient in pairs], *(one for one, _ in pairs))


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grad * gradient for gradient in ctx.gradients)
