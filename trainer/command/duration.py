"""How long training takes, estimated from the encoder's arithmetic: for a plan, where nothing was measured yet."""

from __future__ import annotations

from trainer import families, presets
from trainer.config import EncoderConfig, RunConfig

CORE_MACS = 26e9
"""Multiply-adds a second of one CPU core with AVX2 in fp32: ResNet-18 on 32 x 32, forward and backward, 64 images at
once (AMD EPYC, torch 2.15; 4.0 s of processor time for 107 G, n = 4)."""
H200_MACS = 68e12
"""The same on one H200 with precision=bf16, not compiled: 42.0 ms a step of 512 sequences (tests/gpu/measured/)."""


def estimate(config: RunConfig, epochs: float, cores: int = 1) -> str | None:
    """A sentence's part: how long so many epochs of such runs train, without their probes, within a factor of about
    two.

    None where nobody counted the arithmetic of the family or the encoder.

    Args:
        cores: runs that train side by side, a core each.
    """
    if (macs := _epoch_macs(config)) is None:
        return None
    macs *= epochs
    where = "one CPU core" if cores == 1 else f"{cores} CPU cores"
    return (
        f"about {duration(macs / CORE_MACS / cores)} on {where}, {duration(macs / H200_MACS)} on one H200 with"
        " precision=bf16"
    )


def measured(config: RunConfig, preset: str) -> float | None:
    """Seconds of one of its epochs on one core, from the preset's measured ones, or None.

    By optimiser steps: with models so small that somebody measured them on a core, half the rows take well above half
    the time, and a stream's epoch is not the preset's.
    """
    if config.runtime.seconds_per_epoch is None:
        return None
    return config.runtime.seconds_per_epoch * config.steps_per_epoch / presets.load(preset).steps_per_epoch


def work(config: RunConfig, expected: float, most: int) -> str | None:
    """A plan's line on what is computed, whatever computes it: a machine's price is estimated from it.

    None as for :func:`estimate`.
    """
    if (macs := _epoch_macs(config)) is None:
        return None
    return (
        f"work       an epoch is {config.steps_per_epoch} steps and {macs:.3g} multiply-adds in"
        f" {config.precision}; {expected:.0f} expected, {most} at most"
    )


def _epoch_macs(config: RunConfig) -> float | None:
    count = getattr(families.load(config.family), "epoch_macs", None)
    return None if count is None else count(config)


def duration(seconds: float) -> str:
    """In the unit a person would use."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days" if seconds > 10 * 86400 else f"{seconds / 86400:.2g} days"


def encoder_macs(encoder: EncoderConfig, channels: int, side: int) -> float | None:
    """Multiply-adds of one image's forward pass through the convolutions; None of an encoder that is not counted here.

    Args:
        side: height and width of the image in pixels.
    """
    width = encoder.width
    if (own := encoder.patches) is not None:
        patches = (side // own.patch) ** 2
        return patches * own.patch**2 * channels * width + own.macs(patches, width)
    if encoder.name == "conv":
        half, quarter = _halved(side), _halved(_halved(side))
        stem = 9 * channels * width * half**2
        return stem + 9 * quarter**2 * (width * 4 * width + 2 * (4 * width) ** 2)
    if encoder.name == "stack":
        channels_inside = 4 * width
        return 9 * _halved(side) ** 2 * channels_inside * (channels + (encoder.blocks - 1) * channels_inside)
    if encoder.name != "resnet18":
        return None
    imagenet = encoder.stem == "imagenet"
    side = _halved(side) if imagenet else side
    total = (49 if imagenet else 9) * channels * width * side**2
    side, inputs = _halved(side) if imagenet else side, width
    for stage in range(4):
        planes, strided = width * 2**stage, stage > 0
        side = _halved(side) if strided else side
        # two blocks of two 3 x 3 convolutions, and a 1 x 1 shortcut where the shape changes
        total += side**2 * (9 * planes * (inputs + 3 * planes) + (inputs * planes if strided else 0))
        inputs = planes
    return total


def _halved(side: int) -> int:
    """The side after a stride of 2 with the padding used here."""
    return (side + 1) // 2
