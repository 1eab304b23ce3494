"""A results folder on a disk of its own, small or read-only, seen by one driver and gone with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

# what the driver left is copied to where there is room, before the disk goes with the name space
_RUN = (
    'mount -t tmpfs -o "$1" none "$2" && kept="$3" && disk="$2" && shift 3 && { "$@"; code=$?; cp -a "$disk/." "$kept";'
    " exit $code; }"
)


def on(disk: Path, options: str, kept: Path) -> tuple[str, ...]:
    """Words before a command that give it a disk.

    Args:
        disk: where it appears, an existing folder.
        options: of the mount, as ``size=2m`` or ``ro``.
        kept: an existing folder for a copy of what is on it in the end.
    """
    return (*_namespace(), "sh", "-c", _RUN, "sh", options, str(disk), str(kept))


@cache
def possible() -> bool:
    """Whether this system lets us mount in a name space of our own."""
    words = [*_namespace(), "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


def _namespace() -> tuple[str, ...]:
    return ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")
