"""Which code and libraries answer: one line, without importing torch or ray."""

from __future__ import annotations

import platform
from importlib import metadata

NAME = "seq-jepa-studies"
LIBRARIES = ("torch", "ray", "optuna")


def line() -> str:
    """For example ``seq-jepa-studies 0.1.0, commit 30a56f8c1d (modified), Python 3.11.9, torch 2.15.0, …``."""
    from trainer.record.identity import provenance  # takes a moment: it asks git

    told = provenance()
    commit = (told["commit"] or "unknown")[:10]
    modified = " (modified)" if told["dirty"] else ""
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return f"{NAME} {_version(NAME)}, commit {commit}{modified}, Python {platform.python_version()}, {libraries}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
