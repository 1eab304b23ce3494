"""Ctrl-C for processes that tests and fault matrices start."""

import signal


def interruptible() -> None:
    """A shell script's background jobs ignore SIGINT, and what they start would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
