"""Which studies and records are copies of others: a run that was trained once is no second observation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.errors import RecordError, UsageError
from trainer.record.study_lines import read_info


def copies(paths: Iterable[Path]) -> dict[Path, Path]:
    """The copies among studies' folders and records of single runs, each with what holds all of its runs.

    A run is known by its name and the first line of its record, which times it, a study also by when it was begun, as
    one may have taken over another's runs: a copy that was made in the midst of a study, renamed, or went on, is one as
    well, also where both went on and the same runs were trained in two places. Of two the one with more on record is
    kept, else the first.
    """
    paths = list(paths)
    begun = {path: _begun(path) for path in paths}
    runs = {path: {(one.parent.name, one.name): _first_line(one) for one in _records(path)} for path in paths}
    kept = sorted(runs, key=lambda path: (-len(runs[path]), -sum(one.stat().st_size for one in _records(path))))
    found: dict[Path, Path] = {}
    for number, path in enumerate(kept):
        others = (one for one in kept[:number] if one not in found and begun[path] in (None, begun[one]))
        whole = (
            one for one in others if runs[path].keys() <= runs[one].keys() and runs[path].items() & runs[one].items()
        )
        if runs[path] and (of := next(whole, None)):
            found[path] = of
    return found


def _begun(path: Path) -> Any:
    """Of a study, None of a single run."""
    if not path.is_dir():
        return None
    try:
        return (read_info(path / "study.json").get("created"),)
    except (RecordError, UsageError, OSError):  # said by whoever reads the study
        return path


def _records(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.glob("runs/[!.]*/records.jsonl"))


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()
