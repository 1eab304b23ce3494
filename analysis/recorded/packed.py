"""Records that were packed into one file, as folders that ``analysis.load`` reads.

A study or a results folder is packed as ``.tar.gz`` or ``.tar.xz``; curves of many runs as ``.jsonl.gz``, the lines of
one run after those of another.
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import tempfile
import zlib
from lzma import LZMAError
from pathlib import Path

from trainer.errors import UsageError, one_line

_KEPT: list[tempfile.TemporaryDirectory] = []
"""Unpacked copies; they are removed when the program ends."""
_NAME = re.compile(r"[\w.-]*\w")
_MOST = 500_000_000
"""Bytes that an archive may unpack to; the largest study on record has 150 MB."""


def unpacked(path: str | Path) -> Path:
    """The folder itself, or a temporary one with what the file holds; an unpacked copy lasts as long as the program.

    Raises:
        UsageError: nothing is there, or the file is no such archive, is damaged or would write elsewhere.
    """
    path = Path(path)
    if path.is_dir():
        return path
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file or folder; give a study's folder, or a packed one")
    _KEPT.append(tempfile.TemporaryDirectory(prefix="records-"))
    folder = Path(_KEPT[-1].name)
    try:
        if path.name.endswith(".jsonl.gz"):
            _of_lines(path, folder)
        else:
            with tarfile.open(path) as archive:
                if sum(member.size for member in archive) > _MOST:
                    raise ValueError(f"it would unpack to more than {_MOST // 1_000_000} MB")
                archive.extractall(folder, filter="data")
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError, zlib.error, LZMAError) as error:
        raise UsageError(
            f"{path}: cannot be unpacked ({one_line(error)}); give a .tar.gz, .tar.xz or .jsonl.gz"
        ) from None
    return folder


def _of_lines(path: Path, folder: Path) -> None:
    """A record of its own for every run; study and run are names of folders and nothing else."""
    lines: dict[tuple[str, str], list[str]] = {}
    total = 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            total += len(line)
            if total > _MOST:
                raise ValueError(f"it would unpack to more than {_MOST // 1_000_000} MB")
            found = json.loads(line)
            key = found["study"], found["run_id"]
            if not all(_NAME.fullmatch(name) for name in key):
                raise ValueError(f"{key} are no names of a study and a run")
            lines.setdefault(key, []).append(line)
    for (study, run), of_run in lines.items():
        record = folder / study / "runs" / run / "records.jsonl"
        record.parent.mkdir(parents=True)
        record.write_text("".join(of_run), encoding="utf-8")
