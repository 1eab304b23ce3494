"""Whether ``runtime.compile`` would do anything. No torch: a study asks before any trial starts."""

from __future__ import annotations

import os
import shutil

from trainer.config import RunConfig
from trainer.errors import UsageError


def has_compiler() -> bool:
    """Whether the C++ compiler that the CPU's kernels need is there."""
    return bool(shutil.which("g++") or shutil.which("clang++") or os.environ.get("CXX"))


def check(config: RunConfig, device: str, workers: int, here: bool = True) -> None:
    """Raise UsageError where ``runtime.compile`` would do nothing.

    Args:
        device: type of the device the run computes on.
        here: whether that is this machine, whose compiler counts.
    """
    if not config.runtime.compile or device == "cuda":
        return
    name = getattr(getattr(config.model, "encoder", None), "name", f"a model of {config.family}")
    if device != "cpu" or config.precision != "bf16" or name != "resnet18" or workers > 1:
        raise UsageError(
            "runtime.compile = True has an effect on cuda, or on the cpu with precision=bf16,"
            f" model.encoder.name=resnet18 and one worker; this run has {device}, {config.precision}, {name} and"
            f" {workers}: remove it"
        )
    if here and not has_compiler():
        raise UsageError(
            "runtime.compile = True: no C++ compiler is found (g++, clang++ or $CXX); install one or switch it off"
        )
