"""Published and logged results that come with this package, see ``analysis/reference``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from analysis.frames.columns import REFERENCE
from analysis.ingest.foreign import ForeignRun, sha256
from trainer.errors import UsageError

FOLDER = Path(__file__).resolve().parent.parent / "reference"
LOG, PAPER = FOLDER / "log_results.csv", FOLDER / "paper_results.csv"
_ALWAYS = ("metric", "value", "source", "caveat")
BETWEEN = " | "
"""Between the caveats of two metrics of one line."""
_SPLIT = "_test"
_RESULTS = ("epoch", "unit", "gate_threshold", "gate_pass", "hardware", "wall_seconds", "wandb_id", "std", "step")
"""Columns that say how a run went, not how it was set."""
_NAMES = {
    ("run",): "research log",
    ("table", "dataset", "conditioning", "method", "m_train", "m_val"): "paper",
}
"""Columns that tell one run from another, and what the runs are grouped under."""


def find(path: Path) -> list[Path]:
    """The reference files that a path is or holds."""
    paths = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    return [one for one in paths if one.suffix == ".csv" and _key(_header(one)) is not None]


def read(path: Path) -> list[ForeignRun]:
    """The runs of a reference file, their rows' caveats with them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    key = _key(list(rows[0]) if rows else _header(path))
    digest = sha256(path)
    runs: dict[str, ForeignRun] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UsageError(f"{path}, line {number} has not as many cells as the header; restore the file from a copy")
        name = " / ".join(row[column] for column in key if row[column])
        if name not in runs:
            settings = {
                column: _value(text)
                for column, text in row.items()
                if text and column not in (*_ALWAYS, *_RESULTS) and (column not in key or len(key) > 1)
            }
            about = {"dataset": row["dataset"] or None, "device": row.get("hardware") or None}
            runs[name] = ForeignRun(REFERENCE, _NAMES[key], name, path, digest, settings, about=about)
        try:
            _add(runs[name], row)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: {error}; restore the file from a copy") from None
    return list(runs.values())


def _add(run: ForeignRun, row: dict[str, str]) -> None:
    """One value of a run: beside others of its epoch and split, or on a line of its own where there is one already."""
    metric = row["metric"]
    if row.get("wall_seconds"):
        run.about["seconds"] = float(row["wall_seconds"])
    run.caveats += filter(None, row["caveat"].split("; "))
    if not row["value"]:
        return
    if metric == "gate_pass":
        run.about["gate_passed"] = float(row["value"]) == 1
        return
    where = {"epoch": int(float(row["epoch"])) if row.get("epoch") else None}
    where["split"] = "test" if metric.endswith(_SPLIT) else None
    line = next(
        (one for one in run.lines if metric not in one["metrics"] and all(one[name] == where[name] for name in where)),
        None,
    )
    if line is None:
        run.lines.append(line := {**where, "metrics": {}, "caveat": None})
    line["metrics"][metric] = float(row["value"])
    if row.get("std"):
        line["metrics"][f"{metric}_std"] = float(row["std"])
    if row["caveat"]:
        line["caveat"] = BETWEEN.join(filter(None, [line["caveat"], f"{metric}: {row['caveat']}"]))


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _key(header: list[str]) -> tuple[str, ...]:
    needed = set(header) >= {*_ALWAYS, "dataset"}
    return next((key for key in _NAMES if needed and set(key) <= set(header)), None)  # type: ignore[return-value]


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return []
