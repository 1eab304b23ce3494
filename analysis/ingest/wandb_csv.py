"""The CSV that a chart of W&B exports: ``Step``, then ``<run> - <metric>`` with ``__MIN`` and ``__MAX``.

Names of runs are not unique there, and a chart with more points than it draws exports means of bins.
"""

from __future__ import annotations

import csv
from pathlib import Path

from analysis.frames.columns import WANDB_CSV
from analysis.ingest.foreign import ForeignRun, Numbers, sha256, whole, whole_epoch
from trainer.errors import UsageError

STEPS = ("Step", "epoch", "global_step", "_step", "trainer/global_step")
"""What the first column may be; W&B names it after the chart's axis."""
_LOW, _HIGH = "__MIN", "__MAX"


def find(path: Path) -> list[Path]:
    """The exports that a path is or holds."""
    paths = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    return [one for one in paths if one.suffix == ".csv" and _is_export(one)]


def read(path: Path) -> list[ForeignRun]:
    """The runs of an export, one per column's name before `` - ``.

    Raises:
        UsageError: values were aggregated, so that they are no run's, or a line has cells under no column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *lines = csv.reader(file)
    digest, axis = sha256(path), header[0]
    runs: dict[str, ForeignRun] = {}
    columns = []
    for place, (run_id, metric) in _runs(header).items():
        runs.setdefault(run_id, ForeignRun(WANDB_CSV, path.stem, run_id, path, digest))
        columns.append((place, run_id, metric))
    numbers = {run_id: Numbers() for run_id in runs}
    for row, cells in enumerate(lines, start=2):
        if not cells:
            continue
        _check(path, row, header, cells)
        found: dict[str, dict[str, float]] = {}
        for place, run_id, metric in columns:
            if place < len(cells) and cells[place] != "":
                found.setdefault(run_id, {}).update(numbers[run_id].of({metric: _value(cells[place])}))
        for run_id, metrics in found.items():
            step = whole(_value(cells[0]))
            line = {"epoch": step} if axis == "epoch" else {"step": step, "epoch": whole_epoch(metrics)}
            runs[run_id].lines.append(line | {"metrics": metrics})
    names = [run_id.partition(" #")[0] for run_id in runs]
    for (run_id, run), name in zip(runs.items(), names, strict=True):
        run.caveats = ["a chart's export: no settings, no seed, no end", *numbers[run_id].caveats()]
        if names.count(name) > 1:
            run.caveats.append(
                f"{names.count(name)} runs are named {name!r}: nothing but their column tells them apart"
            )
    return list(runs.values())


def _runs(header: list[str]) -> dict[int, tuple[str, str]]:
    """(run, metric) of each column that holds values; the second of one name is ``name #2``."""
    found: dict[int, tuple[str, str]] = {}
    taken: dict[str, int] = {}
    for place, name in enumerate(header[1:], start=1):
        if name.endswith((_LOW, _HIGH)):
            continue
        taken[name] = taken.get(name, 0) + 1
        run, _, metric = name.rpartition(" - ")
        found[place] = (f"{run} #{taken[name]}" if taken[name] > 1 else run, metric)
    return found


def _check(path: Path, row: int, header: list[str], cells: list[str]) -> None:
    """Refuse a bin of several values: its mean is no measurement; and commas that would shift values to the left."""
    if len(cells) > len(header):
        raise UsageError(
            f"{path}, line {row}: has {len(cells)} cells under {len(header)} columns, so whose they are cannot be told;"
            " write numbers with a decimal point, or give the offline folder"
        )
    for place, name in enumerate(header):
        low, high = place + 1, place + 2
        if (
            name.endswith((_LOW, _HIGH))
            or high >= len(header)
            or header[low] != name + _LOW
            or header[high] != name + _HIGH
        ):
            continue
        if high < len(cells) and cells[low] != cells[high] and cells[low] != "" and cells[high] != "":
            raise UsageError(
                f"{path}, line {row}: {name} is aggregated (from {cells[low]} to {cells[high]}), so it is no run's"
                " value; export the chart ungrouped and with full fidelity, or give the offline folder"
            )


def _value(text: str) -> float | str:
    try:
        return float(text) if text.strip()[-1:].isdigit() or text.strip().endswith(".") else text
    except ValueError:
        return text


def _is_export(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return len(header) > 1 and header[0] in STEPS and all(" - " in name for name in header[1:])
