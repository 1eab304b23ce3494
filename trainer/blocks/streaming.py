"""Views one at a time: what the causal ToST aggregator makes of every prefix, with a state that does not grow.

The token of a view holds the action to the next view, which is known only when that view comes. So an update first
finishes the token of the view before it, and then reads the aggregate with the new view's slot empty, as in a batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.blocks.readout import ClassBlock, Pooled
from trainer.blocks.tost import Tost
from trainer.blocks.tssa import State, summing
from trainer.errors import UsageError


class Attended(NamedTuple):
    """A running softmax of one query per head: largest score (B, h), sum of exponentials (B, h), weighted values
    (B, h, p)."""

    largest: Tensor
    total: Tensor
    values: Tensor


class StreamState(NamedTuple):
    """What is kept between views; its size does not depend on how many there were.

    Attributes:
        blocks: of every block, over the tokens that are finished.
        read: of the read-out, over the same.
        pending: (B, D) code of the last view, whose action is not known yet.
        count: views so far.
    """

    blocks: tuple[State, ...]
    read: Attended | Pooled
    pending: Tensor | None
    count: int


class Stream:
    """Feeds an aggregator view by view; gradients flow if they are enabled.

    Args:
        aggregator: causal; its read-out pools, or attends in one layer, whose query is the same for every prefix.

    Raises:
        UsageError: the aggregator's output for one prefix cannot be had from that for the one before.
    """

    def __init__(self, aggregator: Tost):
        settings = aggregator.settings
        if not settings.causal:
            raise UsageError(
                "model.tost.causal = False: every view changes all earlier tokens; set it to true to stream"
            )
        if settings.class_layers not in (None, 1):
            raise UsageError(
                f"model.tost.class_layers = {settings.class_layers}: from the second layer on every prefix asks anew;"
                " set it to 1, or model.tost.readout to pool, to stream"
            )
        self._of = aggregator

    def begin(self, like: Tensor) -> StreamState:
        """The state before the first view; ``like`` (B, D) tells batch, device and type."""
        inside = like.new_zeros(len(like), self._of.inner.width)
        blocks = tuple(block.attention.begin(inside) for block in self._of.blocks)
        read = self._of.pool.begin(inside) if self._of.pool is not None else self._first(inside)
        return StreamState(blocks, read, None, 0)

    def update(self, state: StreamState, z: Tensor, action: Tensor | None = None) -> tuple[StreamState, Tensor]:
        """One more view.

        Args:
            z: (B, D) its code; action: (B, E) embedded action that led to it from the view before, None for the first.

        Returns:
            The new state, and the aggregate (B, T) of all views so far.
        """
        if (state.pending is None) != (action is None):
            raise ValueError("action: must be None for the first view, and given for every other")
        blocks, read = state.blocks, state.read
        if state.pending is not None:
            blocks, read, _ = self._advance(blocks, read, self._token(state.pending, action, state.count - 1))
        empty = z.new_zeros(len(z), self._of.width - z.shape[1])
        _, _, aggregate = self._advance(blocks, read, self._token(z, empty, state.count))
        return StreamState(blocks, read, z, state.count + 1), aggregate

    def _token(self, z: Tensor, action: Tensor, number: int) -> Tensor:
        token = torch.cat([z, action], dim=1) if self._of.conditioned else z
        if self._of.time is not None:
            token = token + self._of.time(1, number).to(token.dtype)
        return self._of.inner.into(token)

    def _advance(
        self, blocks: tuple[State, ...], read: Attended | Pooled, x: Tensor
    ) -> tuple[tuple[State, ...], Attended | Pooled, Tensor]:
        after = []
        for block, state in zip(self._of.blocks, blocks, strict=True):
            state, x = block.step(state, x)
            after.append(state)
        if self._of.pool is not None:
            read, out = self._of.pool.step(read, self._of.before(x))
        else:
            read, out = self._attend(read, x)
        return tuple(after), read, self._of.inner.leave(out)

    # --- class attention with the running softmax of one query

    def _first(self, inside: Tensor) -> Attended:
        """After the class token has seen itself."""
        reader: ClassBlock = self._of.readers[0]
        heads = reader.attention.heads
        values = inside.new_zeros(len(inside), heads, inside.shape[1] // heads, dtype=summing(inside.device))
        empty = Attended(torch.full_like(values[..., 0], -math.inf), values[..., 0].clone(), values)
        return self._seen(empty, self._of.token[:, 0].expand(len(inside), -1))

    def _attend(self, state: Attended, x: Tensor) -> tuple[Attended, Tensor]:
        reader: ClassBlock = self._of.readers[0]
        state = self._seen(state, x)
        gathered = (state.values / state.total[..., None]).flatten(1).to(x.dtype)
        token = self._of.token[:, 0].expand(len(x), -1)
        return state, reader.finish(token, reader.attention.dropout(reader.attention.out(gathered)))

    def _seen(self, state: Attended, x: Tensor) -> Attended:
        """The running softmax after one more token x (B, d)."""
        reader: ClassBlock = self._of.readers[0]
        q, k, v = (
            one.unflatten(1, (reader.attention.heads, -1)).to(state.values.dtype) for one in self._projected(reader, x)
        )
        score = (q * k).sum(2) / math.sqrt(q.shape[2])
        largest = torch.maximum(state.largest, score)
        old, new = (state.largest - largest).exp(), (score - largest).exp()
        return Attended(largest, state.total * old + new, state.values * old[..., None] + v * new[..., None])

    def _projected(self, reader: ClassBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = reader.attention.qkv.weight.chunk(3)
        bq, bk, bv = reader.attention.qkv.bias.chunk(3)
        asks, seen = reader.norm1(self._of.token[:, 0]), reader.norm1(x)
        return F.linear(asks, query, bq), F.linear(seen, key, bk), F.linear(seen, value, bv)
