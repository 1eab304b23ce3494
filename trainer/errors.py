"""Errors a user can act on. The command lines print them as one line and exit with 2."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_USAGE = 2
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of the system about a place that takes no file of ours."""


class UsageError(Exception):
    """A wrong configuration or command: the message names the key, the value and the rule."""


class RecordError(ValueError):
    """Stored results contradict what is being done to them (other code, other settings)."""


def one_line(error: object) -> str:
    """What an exception says, on one line; the name of its kind where it says nothing."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def otherwise(advice: str) -> Iterator[None]:
    """A place that takes no file is said with what to do.

    Raises:
        UsageError: such a place was met.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_RIGHT:
            raise
        raise UsageError(f"{one_line(error)}; {advice}") from error


def with_kind(error: object) -> str:
    """The same behind the name of its kind."""
    kind, said = type(error).__name__, " ".join(str(error).split())
    return f"{kind}: {said}" if said else kind
