"""Ctrl-C and SIGTERM, which end a study but must not be lost, nor come at a moment that leaves something half
started."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class Interrupt:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt, and :meth:`check` raises it again.

    A signal may arrive inside a destructor or a callback of C code, where Python would print the exception and go on:
    it is not printed, and :meth:`check` raises it. In a thread other than the main one Python lets nobody handle
    signals, so there nothing changes.
    """

    def __init__(self) -> None:
        self._asked = False
        self._later: str | None = None
        self._before: dict[int, object] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt if one was asked for."""
        if self._asked:
            raise KeyboardInterrupt

    @contextmanager
    def later(self, what: str) -> Iterator[None]:
        """Hold a first signal back until the block has ended, where half of it would leave processes behind; a second
        one is heeded at once.

        Args:
            what: what is waited for, as a clause after "as soon as".
        """
        self.check()
        self._later = what
        try:
            yield
        finally:
            self._later = None
        self.check()

    def __enter__(self) -> Interrupt:
        self._unraisable = sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            sys.unraisablehook = self._swallowed
            for number in (signal.SIGINT, signal.SIGTERM):
                # ignored on purpose, as SIGINT is for what a shell script starts in the background; None: not Python's
                # to change
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._unraisable
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _swallowed(self, what: sys.UnraisableHookArgs) -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            self._unraisable(what)

    def _ask(self, *_: object) -> None:
        first, self._asked = not self._asked, True
        if self._later is not None and first:
            print(f"stopping as soon as {self._later}; once more stops at once", file=sys.stderr, flush=True)
            return
        raise KeyboardInterrupt
