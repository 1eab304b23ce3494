"""Reading batches ahead of their use, in one background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

AHEAD = 2
_POLL_SECONDS = 0.05


def load_ahead(load: Callable[[Tensor], Tensor], batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield ``load(index)`` on ``device`` for each index batch, in order.

    The thread starts with the first batch asked for, runs at most ``AHEAD`` batches in front, and ends when the
    batches do or when the consumer closes the iterator or lets go of it. For CUDA the batches pass
    through pinned memory and are copied without waiting.

    Raises:
        Whatever ``load`` or ``batches`` raised, in the consumer, after the batches before it.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def put(kind: str, item: object) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, item), timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for index in batches:
                if stop.is_set():
                    return
                batch = load(index)
                put("batch", batch.pin_memory() if device.type == "cuda" and batch.device.type == "cpu" else batch)
            put("end", None)
        except BaseException as error:  # handed to the consumer, who raises it
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            # pinned memory is not used again before its copy is done: the allocator waits for the stream
            yield item.to(device, non_blocking=True)
    finally:
        stop.set()
        thread.join()
