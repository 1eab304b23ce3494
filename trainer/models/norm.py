"""Batch-norm over the global batch, the same on one worker and on many, on CPU and GPU.

``torch.nn.SyncBatchNorm`` refuses CPU tensors and normalises per process when the world is one; this
module has one definition everywhere: statistics over the rows of all workers, with exact gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import world


class GlobalBatchNorm(nn.Module):
    """Batch-norm of (N, C) or (N, C, H, W) input; parameters and buffers as in torch.nn.BatchNorm2d.

    Attributes:
        track: update the running statistics in training mode (momentum 0.1). The second pass over the
            target view switches it off, so that running statistics describe observed views only.
        alone: use this worker's rows only, without communicating; for probes, which run on one worker.
        fused: let :func:`trainer.models.fused_norm.norm_act` join it with what follows.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True):
        super().__init__()
        self.eps, self.momentum, self.track, self.alone, self.fused = eps, momentum, True, False, False
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if world.size() == 1 or self.alone:
            running = (self.running_mean, self.running_var) if self.track else (None, None)
            return F.batch_norm(x, *running, self.weight, self.bias, True, self.momentum, self.eps)
        normal, mean, var, count = _Normalise.apply(x, self.eps)
        if self.track:
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        if self.weight is None:
            return normal
        shape = [1, -1] + [1] * (x.dim() - 2)
        return normal * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, eps={self.eps}, affine={self.weight is not None}"


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) with the statistics of all workers: one collective each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, float]:
        axes = [0, *range(2, x.dim())]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        local = torch.stack([wide.mean(axes), wide.var(axes, correction=0)])
        parts = [torch.empty_like(local) for _ in range(world.size())]
        dist.all_gather(parts, local)
        means, variances = torch.stack(parts, dim=1)
        mean = means.mean(0)
        # law of total variance, for equal shares
        var = variances.mean(0) + (means - mean).square().mean(0)
        shape = [1, -1] + [1] * (x.dim() - 2)
        scale = torch.rsqrt(var + eps)
        normal = (wide - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normal, scale)
        ctx.axes, ctx.shape, ctx.dtype = axes, shape, x.dtype
        ctx.mark_non_differentiable(mean, var)
        return normal.to(x.dtype), mean, var, float(x.numel() // x.shape[1] * world.size())

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None]:
        normal, scale = ctx.saved_tensors
        grad = grad.to(normal.dtype)
        sums = torch.stack([grad.mean(ctx.axes), (grad * normal).mean(ctx.axes)])
        dist.all_reduce(sums)
        mean_grad, mean_product = (sums / world.size()).view(2, *ctx.shape).unbind(0)
        out = (grad - mean_grad - normal * mean_product) * scale.view(ctx.shape)
        return out.to(ctx.dtype), None
