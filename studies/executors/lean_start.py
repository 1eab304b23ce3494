"""A study's own Ray starts what the trials need, and nothing else. No ray.

Until two trials' first epoch was on record it took 9.0 s and 13.5 processor seconds, and takes 6.6 and 10.2 (medians of
5 starts each, in turn, on two idle cores of an AMD EPYC; ``tests/benchmarks/ray_start.py``). On a busy machine all
figures here are a third higher: 17.2 processor seconds and 12.6.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from studies.running.processors import processors_here

LOCAL = "127.0.0.1"
# a cluster's scaler, and what copies workers' output to the driver: of no use here
HELPERS = (b"/monitor.py\0", b"/log_monitor.py\0")
# Ray starts a worker per processor before anything is asked of it: half a processor second each, for nothing where no
# trial takes it. It ends idle ones after a second once all processors are reserved, as Tune does before it asks for one
WARM = {
    "RAY_prestart_worker_first_driver": "1",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_preload_python_modules": "trainer.loop,ray.tune",  # two seconds and more, while Tune starts here
}
COLD = {"RAY_prestart_worker_first_driver": "0"}


def first_workers(trials: int) -> dict[str, str]:
    """Settings with which Ray's first workers import what trials need, or do not exist if some would get no trial.

    Args:
        trials: that one processor each is enough for, and that start at once.
    """
    return WARM if trials >= processors_here() else COLD


@contextmanager
def taken_port() -> Iterator[int]:
    """Ray starts its dashboard's process also where none is asked for, and waits while that imports for 1.1 processor
    seconds; told to put it at a port that is taken, it goes without."""
    with socket.create_server((LOCAL, 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def without_helpers(folder: Path) -> Iterator[None]:
    """While this lasts, :data:`HELPERS` of the Ray with its files in ``folder`` are ended as they appear.

    Ray has no setting against them; each takes 0.6 processor seconds to import, and the first a second to end. Where
    the system does not list processes they stay.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for pid in _children():
                with suppress(OSError):  # it ended meanwhile
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if any(name in command for name in HELPERS) and os.fsencode(folder) in command:
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch, name="helpers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _children() -> list[int]:
    """Processes that this one started and has not forgotten."""
    found: list[str] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread ended meanwhile
            found += path.read_text().split()
    return [int(pid) for pid in found]
