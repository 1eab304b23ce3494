"""What an evaluation reads of a run's record, and the file it appends to.

The lines have the form of :mod:`trainer.record.run`, in a file of their own: an evaluation may be repeated or use other
probes, so two lines of one epoch and split are no contradiction, and nothing that selects arms finds them.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import sys
from pathlib import Path
from typing import Any

from trainer import presets
from trainer.errors import UsageError
from trainer.record.jsonl import Appender
from trainer.record.lock import Lock
from trainer.record.run_lines import REMEDY, read_run
from trainer.record.writer import NAME


def recorded_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration tree on record, and the line that carries it.

    Raises:
        UsageError: the folder has no record, or the record no configuration.
    """
    path = folder / NAME
    if not path.is_file():
        raise UsageError(
            f"there is no {path}, which says how the checkpoint was trained; keep both files of a run together"
        )
    line = next((line for line in read_run(path) if line["event"] == "eval" and line.get("config")), None)
    if line is None:
        raise UsageError(
            f"{path} has no configuration on any line; was its beginning cut off? {REMEDY[0].upper()}{REMEDY[1:]}"
        )
    try:
        presets.build(copy.deepcopy(line["config"]))
    except UsageError as error:
        raise UsageError(
            f"{path}, the configuration on record: {error}; if the file was changed, restore it from a copy"
        ) from None
    return copy.deepcopy(line["config"]), line


def check_out(path: Path) -> None:
    """Refuse a file that could not be appended to, before hours of work are put into its next line. Changes nothing.

    Raises:
        UsageError: it is a folder, or neither it nor its folder can be written.
        RecordError: what is in it are no records.
    """
    remedy = "give another file with --out"
    if path.is_dir():
        raise UsageError(f"--out {path}: is a folder; give a file in it, as {path / 'evaluation.jsonl'}")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"--out {path}: {folder} is a file, not a folder; {remedy}")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UsageError(f"--out {path}: {path if path.exists() else folder} is not writable; {remedy}")
    for _ in read_run(path):
        pass


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append one line durably; a torn last line, left by a kill, is cut off and reported.

    NaN and infinity become null; ``attempt`` is set to one more than the largest on file.
    """
    with Lock(path.with_name(f".{path.name}.lock"), f"{path}: {{who}} writes to it", wait=True):
        line["attempt"] = 1 + max((earlier.get("attempt", 1) for earlier in read_run(path)), default=0)
        line["metrics"] = {
            name: float(value) if math.isfinite(value) else None for name, value in line["metrics"].items()
        }
        file = Appender(path)
        if file.repaired is not None:
            print(f"repaired: a torn last line of {path} was cut off", file=sys.stderr)
        file.append(line)
        file.close()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
