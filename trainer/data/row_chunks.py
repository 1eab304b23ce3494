"""The one way to take many rows in chunks, of which none holds a single row, and to put them together again."""

from __future__ import annotations

from collections.abc import Iterable

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


def joined_chunks(chunks: Iterable[tuple[Tensor, ...]], count: int) -> list[Tensor]:
    """The columns of chunks of ``count`` rows in all, in their order.

    Each chunk is copied to its place at once. If the chunks themselves were kept, they would lie between what
    making the others frees, and the C library could use little of that again: gigabytes for 45,000 images.
    """
    whole: list[Tensor] = []
    first = 0
    for chunk in chunks:
        whole = whole or [column.new_empty(count, *column.shape[1:]) for column in chunk]
        for column, rows in zip(whole, chunk, strict=True):
            column[first : first + len(rows)] = rows
        first += len(chunk[0])
    return whole
