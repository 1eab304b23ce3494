"""This process among the workers of one run, and the differentiable collectives the model needs.

With one worker nothing here communicates and torch.distributed need not be initialised.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

# Imported before any process group exists: its functions take the default group as a default argument. Imported later
# (by DistributedDataParallel, say) they would hold the group for ever, and a gloo thread still freeing the last
# collective's tensors when the interpreter ends aborts the process ("terminate called without an active exception").
import torch.distributed.nn
from torch import Tensor


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all workers, in rank order, with gradient to the local ones.

    Args:
        rows: (n, d), the same n on every worker.

    Returns:
        (world * n, d), identical on every worker.
    """
    return rows if size() == 1 else _Gather.apply(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # every worker's loss depends on these rows, so their gradients add up
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(size())[rank()]


def mean_over_workers(values: Tensor) -> Tensor:
    """Average of a detached tensor over the workers (equal shares of the batch)."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= size()
    return values


def share_from_first(item: Any) -> Any:
    """Rank 0's object on every worker."""
    if size() > 1:
        box = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]
    return item
