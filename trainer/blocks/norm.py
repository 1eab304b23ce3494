"""Batch-norm over the global batch, the same on one worker and on many, on CPU and GPU.

``torch.nn.SyncBatchNorm`` refuses CPU tensors and normalises per process when the world is one; this
module has one definition everywhere: statistics over the rows of all workers, with exact gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainer import world

Act = Callable[["GlobalBatchNorm", Tensor, "Tensor | None", bool], "Tensor | None"]


class GlobalBatchNorm(nn.Module):
    """Batch-norm of (N, C) or (N, C, H, W) input; parameters and buffers as in torch.nn.BatchNorm2d.

    Attributes:
        track: update the running statistics in training mode (momentum 0.1). The second pass over the
            target view switches it off, so that running statistics describe observed views only.
        alone: use this worker's rows only, without communicating; for probes, which run on one worker.
        kernel: computes ``act`` in another way where it can (``trainer.fast``), or None.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True):
        super().__init__()
        self.kernel: Act | None = None
        self.eps, self.momentum, self.track, self.alone = eps, momentum, True, False
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
        y, mean, var = _Normalise.apply(x, self.weight, self.bias, self.eps)
        if self.track:
            count = x.numel() // x.shape[1] * world.size()
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        return y

    def act(self, x: Tensor, residual: Tensor | None = None, relu: bool = True) -> Tensor:
        """relu(norm(x) + residual) of (N, C, H, W) maps."""
        if self.kernel is not None and (found := self.kernel(self, x, residual, relu)) is not None:
            return found
        y = self(x)
        if residual is not None:
            y = y + residual
        return torch.relu(y) if relu else y

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, eps={self.eps}, affine={self.weight is not None}"


class _Normalise(torch.autograd.Function):
    """w (x - mean) / sqrt(var + eps) + b with the statistics of all workers: one collective each way.

    Statistics, scaling and the gradient's sums are the kernels of torch's own batch-norm: written in tensor operations
    a ResNet-18 step of two workers took an eighth more of the processors' time.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        local = torch.stack(torch.ops.aten.batch_norm_update_stats(wide, None, None, 0.0))
        parts = [torch.empty_like(local) for _ in range(world.size())]
        dist.all_gather(parts, local)
        means, variances = torch.stack(parts, dim=1)
        mean = means.mean(0)
        # law of total variance, for equal shares
        var = variances.mean(0) + (means - mean).square().mean(0)
        ctx.save_for_backward(wide, weight, mean, var)
        ctx.eps, ctx.dtype = eps, x.dtype
        ctx.mark_non_differentiable(mean, var)
        # "not training" means: with the statistics given
        return F.batch_norm(wide, mean, var, weight, bias, False, 0.0, eps).to(x.dtype), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, var = ctx.saved_tensors
        grad = grad.to(x.dtype)
        scale = torch.rsqrt(var + ctx.eps)
        unit = torch.ones_like(mean) if weight is None else weight
        # the sums of g u and of g over this worker's rows, with u = (x - mean) / sigma
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, unit, mean, var, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([grad_weight, grad_bias])
        dist.all_reduce(sums)
        moment, total = sums / (x.numel() // x.shape[1] * world.size())
        # dx = w/sigma (g - mean(g) - u mean(g u)), which is s g + p x + q with per-channel s, p and q
        s = unit * scale
        p = -s * scale * moment
        q = -s * total - mean * p
        shape = [1, -1] + [1] * (x.dim() - 2)
        dx = torch.addcmul(q.view(shape), x, p.view(shape)).addcmul_(grad, s.view(shape))
        if weight is None:
            return dx.to(ctx.dtype), None, None, None
        return dx.to(ctx.dtype), grad_weight, grad_bias, None
