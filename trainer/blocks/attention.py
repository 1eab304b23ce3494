"""Which kernel computes attention: torch's choice, or one by name, which is used or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.errors import UsageError

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
_NONE = ("No available kernel", "No viable backend")
"""How torch says that the only kernel allowed cannot do it, on CUDA and on the CPU."""


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
