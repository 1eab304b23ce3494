"""Ctrl-C while Python still imports: nothing has begun, so the process says so and ends, without a traceback.

An exception raised inside an import may be turned into another one or swallowed; this does not raise one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

EXIT_INTERRUPTED = 130


def begin() -> None:
    """Called first by a command's script."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored on purpose
        signal.signal(signal.SIGINT, _leave)


def over() -> None:
    """Called where KeyboardInterrupt is caught: from here on it is raised as usual."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    sys.stderr.write("\ninterrupted before anything was started\n")
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
