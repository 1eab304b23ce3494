"""Ctrl-C and SIGTERM, which end a study but must not be lost."""

from __future__ import annotations

import signal
from types import TracebackType


class Interrupt:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt, and :meth:`check` raises it again.

    A signal may arrive inside a destructor or a callback of C code, where Python prints the exception and goes on.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt if one was asked for."""
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            # ignored on purpose, as SIGINT is for what a shell script starts in the background; None: not Python's to change
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self._asked = True
        raise KeyboardInterrupt
