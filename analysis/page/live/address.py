"""Where a page is served, and the token that it asks for: the same after every start, so that a page left open in a
browser goes on by itself when its server, or its study, is started again.

Both follow from a key that only this user can read. Another port has another token: whoever takes the port while no
server stands on it, and is sent the browser's cookie, cannot use it elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LASTS = 7 * 24 * 3600
"""Seconds after which a key is replaced at the next start, and with it every token that was ever shown."""
FIRST_PORT, PORTS = 20_000, 10_000
"""Below those that systems hand out by themselves."""


def place() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "seq-jepa-studies" / "page.key"


def key(file: Path | None = None) -> bytes:
    """This user's key; a new one, which nothing keeps, where none can be written."""
    file = file or place()
    with suppress(OSError):
        status = file.stat()
        own = status.st_uid == os.getuid() and not status.st_mode & 0o077
        if own and time.time() - status.st_mtime < LASTS and len(known := file.read_bytes()) == 32:
            return known
    made = secrets.token_bytes(32)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = file.with_name(f"{file.name}.{os.getpid()}")
        with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(made)
        os.replace(new, file)
    return made


def usual_port(key: bytes, folders: Sequence[Path]) -> int:
    """On which these folders are served if nobody else has it."""
    return FIRST_PORT + int.from_bytes(_mixed(key, folders, "port")[:4], "big") % PORTS


def token(key: bytes, folders: Sequence[Path], port: int) -> str:
    """128 bits."""
    return base64.urlsafe_b64encode(_mixed(key, folders, f"token {port}")[:16]).decode().rstrip("=")


def _mixed(key: bytes, folders: Sequence[Path], what: str) -> bytes:
    named = "\0".join([what, *(str(folder.resolve()) for folder in folders)])
    return hmac.digest(key, os.fsencode(named), hashlib.sha256)
