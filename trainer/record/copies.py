"""Which studies and records are copies of others: a run that was trained once is no second observation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.errors import RecordError, UsageError
from trainer.record.study_lines import read_info


def copies(paths: Iterable[Path]) -> dict[Path, Path]:
    """The copies among studies' folders and records of single runs, each with what holds all of its runs.

    A run is known by its name and the first line of its record, which times it, a study also by its name and when it
    was begun, as one may have taken over another's runs: a copy that was made in the midst of a study, or went on, is
    one as well. Of two the one with more on record is kept, else the first.
    """
    paths = list(paths)
    names = {path: _name(path) for path in paths}
    runs = {path: {(one.parent.name, one.name, _first_line(one)) for one in _records(path)} for path in paths}
    kept = sorted(runs, key=lambda path: (-len(runs[path]), -sum(one.stat().st_size for one in _records(path))))
    found: dict[Path, Path] = {}
    for number, path in enumerate(kept):
        others = (one for one in kept[:number] if one not in found and names[path] in (None, names[one]))
        whole = (one for one in others if runs[path] <= runs[one])
        if runs[path] and (of := next(whole, None)):
            found[path] = of
    return found


def _name(path: Path) -> tuple[Any, Any] | None:
    """Of a study, None of a single run."""
    if not path.is_dir():
        return None
    try:
        info = read_info(path / "study.json")
    except (RecordError, UsageError, OSError):  # said by whoever reads the study
        return path, None
    return info.get("study"), info.get("created")


def _records(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.glob("runs/[!.]*/records.jsonl"))


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()
