"""How the C library treats freed memory, and in which pages the system gives it. Linux with glibc; elsewhere nothing
happens."""

from __future__ import annotations

import ctypes
from pathlib import Path

# malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
# asm-generic/mman-common.h
_HUGEPAGE, _COLLAPSE = 14, 25
_HUGE = 2**21


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks for the next allocation instead of returning them to the system.

    A training step frees and asks for the same hundreds of megabytes every time; returned pages have to be faulted in
    and zeroed again, a fifth of a ResNet-18 step. Affects the whole process and cannot be undone; the process then
    keeps its peak. Returns False where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_TOP_PAD, 2**28)])


def huge_pages() -> bool:
    """Ask for 2 MiB pages under the memory allocated so far; False where the system has none.

    In 4 KiB pages a step's maps are more than the processor can address without looking pages up: 6 % of a ResNet-18
    step.
    """
    try:
        heap = next(
            line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]")
        )
    except (OSError, StopIteration):
        return False
    low, high = (int(bound, 16) for bound in heap.split("-"))
    low, high = -(-low // _HUGE) * _HUGE, high // _HUGE * _HUGE
    if high <= low:
        return False
    libc = ctypes.CDLL(None)
    advise = [
        libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), advice) for advice in (_HUGEPAGE, _COLLAPSE)
    ]
    # collapsing now what is in small pages already is a newer system's, and may stop half-way
    return advise[0] == 0
