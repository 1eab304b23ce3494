"""What a piece of work holds at most, beyond what was held before it."""

from __future__ import annotations

from collections.abc import Callable

import torch


def peak_mib(work: Callable[[], object], device: torch.device) -> float:
    """The allocator's on CUDA; on a CPU the largest sum of live allocations that the profiler saw."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        work()
    live = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most / 2**20
