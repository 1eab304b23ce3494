"""Where a patch is, as a transformer is told: sinusoids that are added to it, or angles that turn queries and keys.

Places are (row, column) in patches, (..., 2), and may be fractions: the centre of a coarser cell, a patch of a crop.
"""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 10_000.0


def grid_places(side: int, device: torch.device | None = None) -> Tensor:
    """(side^2, 2) places of a square grid's cells, row by row, float64 (float32 on MPS, which has no other)."""
    line = torch.arange(side, dtype=_exact(device), device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).flatten(0, 1)


def sincos(places: Tensor, width: int) -> Tensor:
    """(..., width) float32 sinusoids: the first half of the channels tells the column, the second the row, each sine
    before cosine (as I-JEPA's, which are rounded to float32 as well)."""
    quarter = width // 4
    angles = _angles(places.flip(-1), quarter)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2).float()


def rotary(places: Tensor, head_width: int) -> Tensor:
    """(..., 2 x head_width): sines, then cosines, of what turns a head's pairs of neighbouring channels.

    The first half of a head turns with the row, the second with the column, so that the product of a query and a key
    depends on the offset between them only.
    """
    angles = _angles(places, head_width // 4).flatten(-2).repeat_interleave(2, -1)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _angles(places: Tensor, bands: int) -> Tensor:
    """(..., 2, bands)."""
    kind = _exact(places.device)
    index = torch.arange(bands, dtype=kind, device=places.device)
    return places.to(kind)[..., None] * TEMPERATURE ** (-index / bands)


def _exact(device: torch.device | None) -> torch.dtype:
    return torch.float32 if device is not None and torch.device(device).type == "mps" else torch.float64
