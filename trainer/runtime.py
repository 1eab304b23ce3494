"""Where and in which number format a run computes."""

from __future__ import annotations

import torch

from trainer.config import RunConfig
from trainer.errors import UsageError


def pick_device(config: RunConfig) -> torch.device:
    """The configured device; ``auto`` takes CUDA, then the CPU (MPS, never tried, only on request).

    Raises:
        UsageError: the device is not present.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    wanted = config.runtime.device
    if wanted == "auto":
        wanted = "cuda" if present["cuda"] else "cpu"
    if not present[wanted]:
        have = ", ".join(name for name, here in present.items() if here)
        raise UsageError(f"runtime.device = {wanted!r}: not present on this machine, which has {have}")
    if wanted == "mps" and config.precision == "fp64":
        raise UsageError("precision = 'fp64' is not available with runtime.device=mps; use cpu")
    return torch.device(wanted)


def pick_dtype(config: RunConfig) -> torch.dtype:
    """Type of weights and images; bf16 is autocast on top of fp32."""
    return torch.float64 if config.precision == "fp64" else torch.float32
