"""Calls the functions of a study's author: whatever they raise is one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any

from trainer.errors import UsageError, with_kind


def call(what: str, function: Callable[..., Any], *given: Any) -> Any:
    """What ``function`` returns. Raises UsageError for any failure, by its name ``what``."""
    try:
        return function(*given)
    except UsageError:
        raise
    except Exception as error:  # whatever the function of a user raises
        raise UsageError(f"{what} fails: {with_kind(error)}; correct {line_of(error)}") from None


def line_of(error: Exception) -> str:
    """The line of the author's file that was being run."""
    engine = str(Path(__file__).parent)
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(engine)]
    lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
    return f"line {lines[-1]} of {frames[0].filename}" if lines else "its function"
