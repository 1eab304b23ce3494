"""What an evaluation reads of a run's record, and the file it appends to.

The lines have the form of :mod:`trainer.records`, in a file of their own: an evaluation may be repeated or use other probes,
so two lines of one epoch and split are no contradiction, and nothing that selects arms finds them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.records import cut_torn_line, read
from trainer.run_record import NAME


def recorded_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration tree on record, and the line that carries it.

    Raises:
        UsageError: the folder has no record, or the record no configuration.
    """
    path = folder / NAME
    if not path.is_file():
        raise UsageError(f"there is no {path}, which says how the checkpoint was trained; keep both files of a run together")
    line = next((line for line in read(path) if line["event"] == "eval" and line.get("config")), None)
    if line is None:
        raise UsageError(f"{path} has no configuration on any line; was its beginning cut off?")
    return copy.deepcopy(line["config"]), line


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append one line durably; a torn last line, left by a kill, is cut off and reported.

    NaN and infinity become null; ``attempt`` is set to one more than the largest on file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    repaired = cut_torn_line(path)
    if repaired is not None:
        print(f"repaired: a torn last line of {path} was cut off", file=sys.stderr)
    line["attempt"] = 1 + max((earlier["attempt"] for earlier in read(path)), default=0)
    line["metrics"] = {name: float(value) if math.isfinite(value) else None for name, value in line["metrics"].items()}
    with path.open("ab") as file:
        file.write(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
