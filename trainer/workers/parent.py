"""A training process ends with the process that started it."""

from __future__ import annotations

import ctypes
import signal
import sys


def die_with_parent() -> None:
    """Let the system kill this process when its parent dies, also while it is frozen. Linux only; elsewhere nothing
    happens.

    Ray's own workers look whether their parent became process 1. Under a service manager or in some containers orphans
    go to another process, and a killed driver's trials went on for a minute.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
