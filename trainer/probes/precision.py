"""Double precision wherever the features live; MPS has none, so there it means the CPU."""

from __future__ import annotations

from torch import Tensor


def in_double(x: Tensor) -> Tensor:
    return (x.cpu() if x.device.type == "mps" else x).double()
