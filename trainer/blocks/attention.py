"""Which kernel computes attention: torch's choice, or one by name, which is used or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.errors import UsageError

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
HALF_ONLY = {"cuda": ("flash", "cudnn")}
"""Kernels that take no float32, by the kind of device."""
_NONE = ("No available kernel", "No viable backend")
"""How torch says that the only kernel allowed cannot do it, on CUDA and on the CPU."""


def measuring(name: str, device: str) -> str:
    """The kernel of a model that is measured: probes read float32 features outside autocast, and one that takes half
    precision only would end the run at its first measurement."""
    return "auto" if name in HALF_ONLY.get(device, ()) and not torch.is_autocast_enabled(device) else name


@contextmanager
def kernel(name: str) -> Iterator[None]:
    """Attention inside is computed by the named kernel only.

    Raises:
        UsageError: it cannot compute what it is given here.
    """
    if name == "auto":
        yield
        return
    try:
        with sdpa_kernel(KERNELS[name]):
            yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _NONE):
            raise
        raise UsageError(
            f"model.encoder.vit.attention = {name!r}: that kernel cannot be had on this device, or not in this"
            " precision; choose auto, or math, which there is everywhere"
        ) from None
