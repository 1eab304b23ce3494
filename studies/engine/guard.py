"""Calls the functions of a study's author: whatever they raise is one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.errors import UsageError, with_kind


def call(what: str, function: Callable[..., Any], *given: Any) -> Any:
    """What ``function`` returns. Raises UsageError for any failure, by its name ``what``."""
    try:
        return function(*given)
    except UsageError:
        raise
    except Exception as error:  # whatever the function of a user raises
        raise UsageError(f"{what} fails: {with_kind(error)}; correct its function") from None
