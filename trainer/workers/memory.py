"""GPU memory of trials that share a device: measured first, then limited, so that a trial can only run out of its own
share.

Imports torch where it is used: the rule is also asked for by processes that never compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.errors import UsageError

if TYPE_CHECKING:
    import torch

# a process's context, its loaded kernels and the libraries' workspaces live outside torch's allocator: allowed for, not
# measured
CONTEXT_BYTES = 768 * 2**20
GIB = 2**30
_SAYS = (
    "out of memory",  # torch's CUDA and MPS allocators, "CUDA error: out of memory"
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "can't allocate memory",  # torch's CPU allocator
)


def start_measuring(device: torch.device) -> None:
    """Forget what earlier trials of this process held, where a process serves several: gives their freed memory back
    too."""
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measured(device: torch.device) -> dict[str, int] | None:
    """The most memory this process has held on a CUDA device since ``start_measuring``; None on other devices, where
    nothing is shared out.

    Returns:
        ``peak_bytes``: what torch's allocator reserved at most, plus ``CONTEXT_BYTES``; ``total_bytes``: the device's
        memory.
    """
    if device.type != "cuda":
        return None
    import torch

    peak = torch.cuda.max_memory_reserved(device) + CONTEXT_BYTES
    return {"peak_bytes": peak, "total_bytes": torch.cuda.get_device_properties(device).total_memory}


def limit_share(device: torch.device, share: float) -> None:
    """Let this process's allocator take at most its share of a CUDA device: beyond it, torch.OutOfMemoryError here and
    nowhere else.

    Call before the first allocation. Elsewhere than on CUDA, and for a whole device or several, nothing is limited.

    Args:
        share: part of the device this trial was given, above 0; ``CONTEXT_BYTES`` of it are left to the context.

    Raises:
        UsageError: the share is 0 or less, or leaves nothing beside the context.
    """
    if not share > 0:
        raise UsageError(
            f"a share of {share} of a GPU must be above 0: set --gpus-per-trial to 1, or to a fraction such as 0.5"
        )
    if device.type != "cuda" or share >= 1:
        return
    import torch

    total = torch.cuda.get_device_properties(device).total_memory
    fraction = share - CONTEXT_BYTES / total
    if fraction <= 0:
        raise UsageError(
            f"--gpus-per-trial {share:g} of {total / GIB:.1f} GiB is less than the {CONTEXT_BYTES / GIB:.2f} GiB a"
            f" process needs before it computes anything: set at least {_floor(2 * CONTEXT_BYTES / total) + 0.0001:g}"
        )
    torch.cuda.set_per_process_memory_fraction(fraction, device)


def fits(peak_bytes: int, total_bytes: int, share: float, margin: float = 0.1) -> str | None:
    """Whether a trial that held ``peak_bytes`` fits ``share`` of a device of ``total_bytes``, with ``margin`` of its
    peak to spare.

    Returns:
        None if it fits; otherwise one line with the numbers and what to set: the smallest 1/k that fits, rounded down
        to the four decimals that Ray counts in.

    Raises:
        ValueError: a peak below 0, a total or share of 0 or less, or a negative margin.
    """
    if peak_bytes < 0 or total_bytes <= 0 or not share > 0 or not margin >= 0:
        raise ValueError(
            f"peak_bytes = {peak_bytes}, total_bytes = {total_bytes}, share = {share}, margin = {margin}: "
            "peak and margin must not be negative, total and share must be above 0"
        )
    needed, given = peak_bytes * (1 + margin), min(share, 1.0) * total_bytes
    if needed <= given:
        return None
    found = (
        f"a trial needs {needed / GIB:.1f} GiB of GPU memory ({peak_bytes / GIB:.1f} measured + {100 * margin:.0f} %)"
    )
    if needed > total_bytes:
        return f"{found}, the whole device has {total_bytes / GIB:.1f}: set a smaller optim.batch_size"
    count = int(total_bytes // needed)
    while count > 1 and _floor(1 / count) * total_bytes < needed:
        count -= 1  # rounding down took the last of the room
    advice = f"set --gpus-per-trial {_floor(1 / count):g}"
    return f"{found}, --gpus-per-trial {share:g} gives {given / GIB:.1f} of {total_bytes / GIB:.1f}: {advice}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one it was caused by, says that a device's or the host's memory ran out.

    Looks through ``__cause__`` and ``__context__``, and through the errors that Ray wraps: ``cause`` and
    ``worker_failures``.
    """
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        # by name: torch's and Ray's need not be imported to be recognised
        named = any(kind.__name__ == "OutOfMemoryError" for kind in type(one).__mro__)
        says = isinstance(one, RuntimeError) and any(text in str(one).lower() for text in _SAYS)
        if named or says or isinstance(one, MemoryError):
            return True
        waiting += [one.__cause__, one.__context__, getattr(one, "cause", None)]
        failures = getattr(one, "worker_failures", None)
        waiting += list(failures.values()) if isinstance(failures, dict) else []
    return False


def _floor(share: float) -> float:
    # 1e-9: 0.5 * 1e4 and the like must not fall below their own value
    return int(share * 10_000 + 1e-9) / 10_000
