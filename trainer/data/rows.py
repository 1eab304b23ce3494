"""Apply an image operation to the rows of a batch that ask for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def selects_rows(images: Tensor) -> bool:
    """Whether work is saved by indexing the rows that need it.

    Reading which rows these are makes the host wait for an accelerator and breaks a compiled graph;
    there every row is computed and ``torch.where`` keeps the right ones.
    """
    return images.device.type == "cpu" and not torch.compiler.is_compiling()


def apply_where(on: Tensor, operation: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> Tensor:
    """``operation(images, *parameters)`` on the rows that are on; the other rows are returned bit by bit.

    Args:
        on: (B,) bool.
        operation: maps (b, C, H, W) and parameters of b rows to a new (b, C, H, W), row by row.
        images: (B, C, H, W); not changed.
        parameters: tensors of B rows.

    Returns:
        (B, C, H, W).
    """
    if not selects_rows(images):
        return torch.where(on[:, None, None, None], operation(images, *parameters), images)
    rows = on.nonzero().squeeze(1)
    if len(rows) == len(images):
        return operation(images, *parameters)
    changed = images.clone()
    if len(rows):
        changed[rows] = operation(images[rows], *(parameter[rows] for parameter in parameters))
    return changed
