"""Errors a user can act on. The command lines print them as one line and exit with 2."""

EXIT_USAGE = 2


class UsageError(Exception):
    """A wrong configuration or command: the message names the key, the value and the rule."""


class RecordError(ValueError):
    """Stored results contradict what is being done to them (other code, other settings)."""


def one_line(error: object) -> str:
    """What an exception says, on one line; the name of its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def with_kind(error: object) -> str:
    """The same behind the name of its kind."""
    kind, said = type(error).__name__, " ".join(str(error).split())
    return f"{kind}: {said}" if said else kind
