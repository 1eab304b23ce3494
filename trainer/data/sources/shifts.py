"""What changes along a stream: which images come, which actions are taken, or how images look.

A place is how far along the stream a row is, in [0, 1); segment s of T covers [s/T, (s+1)/T).
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.config.stream import FACTORS, StreamConfig
from trainer.data import photometric

SLOTS = {"rotation": (0,), "position": (1, 2), "scale": (3,)}
"""A planar view's random numbers by the factor that they decide."""


def segment_of(place: Tensor, segments: int) -> Tensor:
    """(B,) int64 segment of each place."""
    return (place * segments).long().clamp_max(segments - 1)


def class_pools(labels: Tensor, pool: Tensor, segments: int, classes: int) -> list[Tensor]:
    """The images of ``pool`` by segment: an equal number of consecutive classes each."""
    width = classes // segments
    return [pool[(labels[pool] // width) == segment] for segment in range(segments)]


def restricted(numbers: Tensor, segment: Tensor, config: DataConfig) -> Tensor:
    """Random numbers (B, n) of planar views, confined to what their segments (B,) allow.

    windows: the angle lies in the segment's part of its range. factors: what does not move rests in the middle of its
    range, which is no rotation, no shift and no change of scale.
    """
    stream = config.stream
    if stream.kind != "actions":
        return numbers
    views = numbers.clone().view(len(numbers), -1, 4)
    if stream.shift == "windows":
        views[..., 0] = (views[..., 0] + segment[:, None]) / stream.segments
        return views.flatten(1)
    for index, moving in enumerate(FACTORS):
        for factor, slots in SLOTS.items():
            if factor not in moving:
                rows = (segment == index)[:, None]
                for slot in slots:
                    views[..., slot] = torch.where(rows, 0.5, views[..., slot])
    return views.flatten(1)


def level(place: Tensor, stream: StreamConfig) -> Tensor:
    """(B,) contrast or hue at each place: in every step its own, or one per segment."""
    start = 1.0 if stream.change == "contrast" else 0.0
    share = place if stream.gradual else segment_of(place, stream.segments) / (stream.segments - 1)
    return start + share * (stream.to - start)


def changed(stored: Tensor, place: Tensor, stream: StreamConfig) -> Tensor:
    """Images as the stream shows them, again (B, C, H, W) uint8: what a memory keeps is what was seen.

    contrast: about the image's own mean. hue: turned, in turns.
    """
    if stream.change is None:
        return stored
    # an object's views are rows of their own
    amount = level(place, stream).repeat(len(stored) // len(place))
    x = stored.float() / 255
    if stream.change == "contrast":
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + amount[:, None, None, None] * (x - mean)
    else:
        one = torch.ones_like(amount)
        order = torch.arange(4, device=x.device).expand(len(x), 4)
        x = photometric.color_jitter(x, one, one, one, amount, order, one.bool())
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
