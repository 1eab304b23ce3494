"""What a device and a number of workers rule out. No torch: a plan asks before any trial starts, and says what the run
itself would."""

from __future__ import annotations

from trainer.config import RunConfig
from trainer.errors import UsageError
from trainer.fast import compilable


def check(config: RunConfig, device: str, workers: int, here: bool = True) -> None:
    """Raise UsageError for a run that cannot be, or for a setting that would do nothing.

    Args:
        device: type of the device the run computes on.
        workers: processes that train the run together.
        here: whether the device is this machine's.
    """
    check_device(config, device)
    if config.optim.batch_size % workers:
        raise UsageError(f"optim.batch_size = {config.optim.batch_size} must be divisible by the {workers} workers")
    if workers > 1 and config.one_worker is not None:
        raise UsageError(f"{config.one_worker}; there are {workers} workers: take one per run")
    compilable.check(config, device, workers, here)
    if config.runtime.compile and device == "cuda" and workers == 1 and config.unrecorded is not None:
        raise UsageError(f"runtime.compile = True: {config.unrecorded}, as no recorded step can; remove one of them")


def check_device(config: RunConfig, device: str) -> None:
    """Raise UsageError for numbers or kernels that the type of device has not."""
    if device == "mps" and config.precision == "fp64":
        raise UsageError("precision = 'fp64' is not available with runtime.device=mps; use cpu")
    if device != "cuda" and config.precision == "tf32":
        raise UsageError(
            f"precision = 'tf32' rounds the products of CUDA's matrix units; runtime.device is {device}: use fp32 there"
        )
    vit = getattr(getattr(config.model, "encoder", None), "vit", None)
    if vit is not None and vit.attention in ("efficient", "cudnn") and device != "cuda":
        raise UsageError(
            f"model.encoder.vit.attention = {vit.attention!r} is a kernel of CUDA; runtime.device is {device}: choose"
            " auto or math"
        )
    if vit is not None and vit.attention in ("flash", "cudnn") and device == "cuda" and config.precision != "bf16":
        raise UsageError(
            f"model.encoder.vit.attention = {vit.attention!r} computes in half precision on CUDA, and precision ="
            f" {config.precision!r}: take bf16, or choose auto, efficient or math"
        )
