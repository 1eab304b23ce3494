"""The one way to take many rows in chunks: a chunk never holds a single row."""

from __future__ import annotations

from torch import Tensor


def row_chunks(rows: Tensor, size: int) -> list[Tensor]:
    """Consecutive chunks of ``size`` rows, the last one of what is left.

    A single row left over joins the chunk before it, which then has ``size + 1``: batch statistics of one row do not
    exist, and of a chunk of two they would say little about the rest. Only where there is one row in all, it is a chunk
    of its own.

    Args:
        rows: (n, ...).
        size: at least 2.
    """
    if size < 2:
        raise ValueError(f"size = {size}: a chunk of one row has no batch statistics; take at least 2")
    chunks = list(rows.split(size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [rows[-size - 1 :]]
    return chunks
