"""Where and in which number format a run computes."""

from __future__ import annotations

import torch

from trainer import placing
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
    placing.check_device(config, wanted)
    # with its number: torch 2.11 limits the memory of no other
    return torch.device(wanted, torch.cuda.current_device()) if wanted == "cuda" else torch.device(wanted)


def card(device: torch.device) -> str | None:
    """Model of the GPU, None on other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def pick_dtype(config: RunConfig) -> torch.dtype:
    """Type of weights and images; bf16 is autocast on top of fp32."""
    return torch.float64 if config.precision == "fp64" else torch.float32


SHORT = 16
"""Views up to which plain attention is faster on CUDA than flash kernels, whose tiles hold 64 tokens (4 tokens: 0.7 of
23 ms of a step)."""


def set_arithmetic(config: RunConfig, device: torch.device) -> None:
    """Which kernels CUDA may choose; for the whole process.

    ``precision=fp32`` is fp32: torch's own default lets convolutions round to TF32, which ``precision=tf32`` allows for
    matrix products as well. Timing convolution algorithms (``runtime.compile``) may choose another one in another
    process.
    """
    if device.type != "cuda":
        return
    rounded = config.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
    torch.backends.cudnn.benchmark = config.runtime.compile
    plain = config.data.observed_views <= SHORT
    for enable in (
        torch.backends.cuda.enable_flash_sdp,
        torch.backends.cuda.enable_mem_efficient_sdp,
        torch.backends.cuda.enable_cudnn_sdp,
    ):
        enable(not plain)
