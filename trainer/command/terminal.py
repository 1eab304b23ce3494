"""rich's console, except that a reader who goes away (``| head``) is an exception its command can answer."""

from __future__ import annotations

import shlex
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


def command_lines(command: str, width: int, start: str = "") -> list[str]:
    """A shell command in lines that can be copied as they are: broken between words, with a backslash."""
    lines = [start]
    for word in (shlex.quote(word) for word in shlex.split(command)):
        if lines[-1].strip() and len(lines[-1]) + 1 + len(word) > width - 2:
            lines[-1] += " \\"
            lines.append("    ")
        lines[-1] += word if not lines[-1].strip() else f" {word}"
    return lines
