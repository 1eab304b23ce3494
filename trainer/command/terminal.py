"""rich's console, except that a reader who goes away (``| head``) is an exception its command can answer."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


class Terminal(Console):
    """Raises BrokenPipeError, where rich would end the process with code 1."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that is being handled


def near(path: Path) -> Path:
    """The path as it is shortest from here."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except (ValueError, OSError):
        return path
