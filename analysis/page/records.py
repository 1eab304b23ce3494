"""What lies in a study's folder that no table holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.record.run_lines import read_run

_ABOUT = {
    "study.json": "what was declared and with which settings",
    "decisions.jsonl": "every suggestion, judgement and end",
    "runs": "one folder per run; records.jsonl is the only truth",
    "report": "tables, figures and sentences",
    "optuna.db": "a mirror of the search, for optuna-dashboard",
    "study.log": "what the study printed",
}


def first_line(path: Path) -> dict[str, Any]:
    """The line that says from which code and machine a run came; {} without a record."""
    return next(iter(read_run(path)), {})


def files(folder: Path) -> list[tuple[str, str]]:
    """(path, what it is) of those that are there."""
    return [(str(folder / name), about) for name, about in _ABOUT.items() if (folder / name).exists()]
