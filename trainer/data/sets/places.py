"""Where a data set's files are, and where what is made of them goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UsageError

if TYPE_CHECKING:
    from trainer.config import RunConfig

VARIABLE = "SEQ_JEPA_CACHE"


@dataclass(frozen=True)
class Places:
    """What a reader is told.

    Attributes:
        root: the folder that holds all data sets.
        download: fetch what is missing, where the publisher allows it.
        made: where decoded images and other derived files are kept; the data may be read-only.
        own_files: the files are not the published ones: checksums, counts and classes are not compared with theirs.
    """

    root: Path
    download: bool
    made: Path
    own_files: bool


def made_folder(config: RunConfig) -> Path:
    """Where derived files go: ``runtime.cache_dir``, else $SEQ_JEPA_CACHE, else beside the data."""
    return Path(config.runtime.cache_dir or os.environ.get(VARIABLE) or config.runtime.data_root)


def make_folder(folder: Path) -> None:
    """Make a folder for derived files.

    Raises:
        UsageError: it cannot be written; the message says how to have it elsewhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from None
    if not writable:
        raise _unwritable(folder, "Permission denied")


def _unwritable(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"{folder}: decoded images cannot be kept there ({why}); name another folder with --cache-dir or ${VARIABLE}"
    )
