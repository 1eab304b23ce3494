"""Where results go, checked before anything is spent."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trainer.errors import UsageError


def folder(text: str) -> Path:
    """A folder given on a command line."""
    if not text.strip():
        raise UsageError(f"--results-dir {text!r}: give a folder; '.' is this one")
    return Path(text)


def check_name(name: str) -> str:
    """A study's name is a folder's name. Raises UsageError for anything that could leave the results folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError(
            f"study name {name!r}: use up to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return name


def writable(folder: Path) -> None:
    """Raise UsageError unless ``folder`` could be created and written to; creates nothing."""
    above = nearest(folder)
    if not above.is_dir():
        raise UsageError(f"results folder {folder}: {above} is a file, not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"results folder {folder}: {above} is not writable; choose another with --results-dir")


def nearest(path: Path) -> Path:
    """The path itself, or the closest one above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
