"""Files that are not what they are called: other than published, or one given twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from trainer.data.sets.raw import damaged
from trainer.errors import UsageError


def published_bytes(path: Path, md5: str, own_files: bool) -> bytes:
    """A file's content.

    Raises:
        UsageError: its md5 is not the published one, unless the files are the user's own.
    """
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5 and not own_files:
        raise UsageError(
            f"{path} is damaged, or not the published file (md5 {found[:12]}..., published {md5[:12]}...); replace it"
            " with a fresh copy, or give --own-files if the files are your own"
        )
    return content


def refuse_equal(paths: Iterable[Path]) -> None:
    """Raise UsageError if two of the files have the same content: one was copied over another."""
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        by_size.setdefault(path.stat().st_size, []).append(path)
    for same in by_size.values():
        seen: dict[str, Path] = {}
        for path in same if len(same) > 1 else ():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest in seen:
                raise damaged(path, f"it is the same file as {seen[digest].name}")
            seen[digest] = path
