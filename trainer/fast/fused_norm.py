"""Batch-norm, residual and ReLU in one go, for half-precision maps on the CPU.

Between two convolutions of a residual network everything is memory traffic. The stock modules read and write each map
five times forward and eight to ten times backward; here it is three and five, or four and eight with a residual:
statistics in one pass, scale, shift, residual and ReLU in the next, and the backward pass recomputes the ReLU's mask
from the input instead of reading the output. The loops are plain tensor code, compiled by torch.compile once per
process.

Same definition as :class:`trainer.blocks.norm.GlobalBatchNorm` on one worker; statistics and arithmetic are fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer import world
from trainer.blocks.norm import GlobalBatchNorm


def fused_act(norm: GlobalBatchNorm, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor | None:
    """relu(norm(x) + residual) of (N, C, H, W) maps, or None where the maps do not allow it."""
    return _fused(norm, x, residual, relu) if _suits(norm, x) else None


def _suits(norm: GlobalBatchNorm, x: Tensor) -> bool:
    alone = world.size() == 1 or norm.alone
    half = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    return norm.training and alone and half and x.is_contiguous(memory_format=torch.channels_last)


def _fused(norm: GlobalBatchNorm, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    if residual is not None:
        residual = residual.contiguous(memory_format=torch.channels_last)
    out, mean, var = _NormAct.apply(x, norm.weight, norm.bias, residual, relu, norm.eps)
    if norm.track:
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(var * (count / (count - 1)), norm.momentum)
    return out


class _NormAct(torch.autograd.Function):
    """With u = (x - mean) / sigma, y = w u + b, g the gradient after the ReLU's mask:

    dx = w/sigma (g - mean(g) - u mean(g u)), which is s g + p x + q with per-channel s, p and q.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, relu: bool, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x)
        count = len(rows)
        # sums around one of the values: around zero they would cancel where the mean is large
        origin = rows[0].float()
        first, second = (part.sum(0) for part in _compiled(_sums)(_blocks(rows), origin))
        offset = first / count
        mean, var = origin + offset, second / count - offset * offset
        rstd = torch.rsqrt(var + eps)
        scale = weight * rstd
        shift = bias - mean * scale
        if residual is not None:
            kind, y = "residual", _compiled(_affine_add_relu)(rows, _rows(residual), scale, shift)
        elif relu:
            kind, y = "relu", _compiled(_affine_relu)(rows, scale, shift)
        else:
            kind, y = "linear", _compiled(_affine)(rows, scale, shift)
        ctx.kind = kind
        ctx.save_for_backward(rows, y if kind == "residual" else None, scale, shift, mean, rstd)
        ctx.mark_non_differentiable(mean, var)
        return _maps(y, x), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        rows, y, scale, shift, mean, rstd = ctx.saved_tensors
        g, count = _rows(grad.contiguous(memory_format=torch.channels_last)), len(rows)
        if ctx.kind == "residual":
            sums = _compiled(_grad_sums_masked)(_blocks(g), _blocks(y), _blocks(rows), mean)
        elif ctx.kind == "relu":
            sums = _compiled(_grad_sums_relu)(_blocks(g), _blocks(rows), scale, shift, mean)
        else:
            sums = _compiled(_grad_sums)(_blocks(g), _blocks(rows), mean)
        total, moment = (part.sum(0) for part in sums)
        grad_weight = moment * rstd
        p = -scale * rstd * grad_weight / count
        q = -scale * total / count - mean * p
        grad_residual = None
        if ctx.kind == "residual":
            dx, masked = _compiled(_grad_masked)(g, y, rows, scale, p, q)
            grad_residual = _maps(masked, grad)
        elif ctx.kind == "relu":
            dx = _compiled(_grad_relu)(g, rows, scale, shift, p, q)
        else:
            dx = _compiled(_grad)(g, rows, scale, p, q)
        return _maps(dx, grad), grad_weight, total, grad_residual, None, None


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) in channels-last memory as (N H W, C), without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return rows.view(n, h, w, c).permute(0, 3, 1, 2)


def _blocks(rows: Tensor) -> Tensor:
    """(R, C) as (R / b, b, C): a block stays in the cache while its columns are summed."""
    size = next(size for size in (64, 48, 32, 16, 8, 4, 2, 1) if len(rows) % size == 0)
    return rows.view(-1, size, rows.shape[1])


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # twenty shapes of maps in one network; dynamic, so that they share a kernel
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(function, dynamic=True, fullgraph=True)


def _sums(x: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    d = x.float() - origin
    return d.sum(1), (d * d).sum(1)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (x.float() * scale + shift).to(x.dtype)


def _affine_relu(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.relu(x.float() * scale + shift).to(x.dtype)


def _affine_add_relu(x: Tensor, residual: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.relu(x.float() * scale + shift + residual.float()).to(x.dtype)


def _grad_sums(g: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    g = g.float()
    return g.sum(1), (g * (x.float() - mean)).sum(1)


def _grad_sums_relu(g: Tensor, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    x = x.float()
    g = torch.where(x * scale + shift > 0, g.float(), 0.0)
    return g.sum(1), (g * (x - mean)).sum(1)


def _grad_sums_masked(g: Tensor, y: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    g = torch.where(y > 0, g.float(), 0.0)
    return g.sum(1), (g * (x.float() - mean)).sum(1)


def _grad(g: Tensor, x: Tensor, scale: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return (g.float() * scale + x.float() * p + q).to(x.dtype)


def _grad_relu(g: Tensor, x: Tensor, scale: Tensor, shift: Tensor, p: Tensor, q: Tensor) -> Tensor:
    wide = x.float()
    masked = torch.where(wide * scale + shift > 0, g.float(), 0.0)
    return (masked * scale + wide * p + q).to(x.dtype)


def _grad_masked(g: Tensor, y: Tensor, x: Tensor, scale: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    masked = torch.where(y > 0, g.float(), 0.0)
    return (masked * scale + x.float() * p + q).to(x.dtype), masked.to(x.dtype)
