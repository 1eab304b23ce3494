"""Processes that train together: they meet over a file, so no port can be taken, and one that dies is noticed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import torch.distributed as dist
from forked import CONTEXT


def join(place: str, rank: int, world: int) -> None:
    """Become worker ``rank`` of ``world``; ``place`` is the file on which the workers meet."""
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=world)


def together(world: int, work: Callable[..., None], *arguments: Any, answers: int = 1) -> list[Any]:
    """Run ``work(rank, world, place, *arguments, queue)`` in ``world`` processes; what they put into the queue.

    There is no limit of time: a process that ends without its answer fails the test, one that computes may.
    """
    queue = CONTEXT.Queue()
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "meeting")
        processes = [
            CONTEXT.Process(target=work, args=(rank, world, place, *arguments, queue)) for rank in range(world)
        ]
        for process in processes:
            process.start()
        found: list[Any] = []
        while len(found) < answers:
            try:
                found.append(queue.get(timeout=1))
            except Empty:
                codes = [process.exitcode for process in processes]
                assert not any(codes), f"a worker died: exit codes {codes}"
                assert None in codes or not queue.empty(), "the workers ended without an answer"
        for process in processes:
            process.join()
            assert process.exitcode == 0
    return found
