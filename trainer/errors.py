"""Errors a user can act on. The command lines print them as one line and exit with 2."""

EXIT_USAGE = 2


class UsageError(Exception):
    """A wrong configuration or command: the message names the key, the value and the rule."""


class RecordError(ValueError):
    """Stored results contradict what is being done to them (other code, other settings)."""
