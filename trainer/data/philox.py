"""Counter-based random numbers: a draw is a pure function of (seed, purpose, epoch, index, slot).

Nothing is carried from one draw to the next, so resuming, another number of workers, or switching a
diagnostic on cannot shift anybody's random numbers. The generator is Philox4x32-10 (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011), written as batched integer operations; the
bits are the same on every device.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_ROUND = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


class Purpose(IntEnum):
    """Streams that must never share a number."""

    ORDER = 1
    TRAIN_VIEWS = 2
    FIXED_VIEWS = 3
    INIT = 4
    TORCH = 5
    PROBE = 6
    SLICES = 7
    MASKS = 8
    MIXING = 9
    OF_SET = 10
    PLACES = 21
    REPLAY = 22
    RESERVOIR = 23


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four random 32-bit words per counter.

    Args:
        counter: four int64 tensors of one shape holding 32-bit values.
        key: two 32-bit values.

    Returns:
        Four int64 tensors of that shape, uniform in [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap modulo 2**64, which keeps all 64 bits of a 32 x 32 bit product
        low, high = c0 * _ROUND[0], c2 * _ROUND[1]
        c0, c1, c2, c3 = (
            ((high >> 32) & _MASK) ^ c1 ^ k0,
            high & _MASK,
            ((low >> 32) & _MASK) ^ c3 ^ k1,
            low & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniforms(seed: int, purpose: Purpose, epoch: int | Tensor, index: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) for each sample.

    Args:
        epoch: any number below 2**32 that tells draws apart; an int64 scalar keeps the host out of it.
        index: (B,) int64 sample indices below 2**32.
        count: numbers wanted per sample.

    Returns:
        (B, count) float32, multiples of 2**-24.
    """
    blocks = (count + 3) // 4
    slot = torch.arange(blocks, device=index.device)
    sample, slot = torch.broadcast_tensors(index[:, None], slot[None])
    zero = torch.zeros_like(sample)
    words = philox((sample, slot, zero + epoch, zero + int(purpose)), (seed & _MASK, seed >> 32))
    return (torch.stack(words, dim=-1).flatten(1)[:, :count] >> 8).to(torch.float32) * 2.0**-24


def permutation(
    seed: int, epoch: int, size: int, device: torch.device, purpose: Purpose = Purpose.ORDER, slot: int = 0
) -> Tensor:
    """The order of ``size`` samples in an epoch, (size,) int64; ``slot`` tells orders of one purpose apart."""
    index = torch.arange(size, device=device)
    zero = torch.zeros_like(index)
    words = philox((index, zero + slot, zero + epoch, zero + int(purpose)), (seed & _MASK, seed >> 32))
    # ties of the first word (one in 2**32) keep their order: the sort is stable
    return torch.argsort(words[0], stable=True)


def derived_seed(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """A 63-bit seed for a torch.Generator, for code that cannot take counters (weight init, dropout)."""
    zero = torch.zeros((), dtype=torch.int64)
    w0, w1, _, _ = philox((zero, zero, zero + epoch, zero + int(purpose)), (seed & _MASK, seed >> 32))
    return (int(w0) << 31) ^ int(w1)
