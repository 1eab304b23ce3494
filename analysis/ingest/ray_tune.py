"""Folders of Ray Tune: a trial's ``result.json`` (a JSON object per line). ``progress.csv`` is never read: it has the
columns of the first result only."""

from __future__ import annotations

import json
from pathlib import Path

from analysis.frames.columns import RAY_TUNE
from analysis.ingest.foreign import ForeignRun, Numbers, sha256, whole, whole_epoch
from trainer.errors import UsageError

RESULTS = "result.json"
_NULL = "null"
"""What Tune writes for a float32 that is not a number."""
_ABOUT = {
    "config", "trial_id", "experiment_id", "date", "timestamp", "hostname", "node_ip", "pid", "done",
    "should_checkpoint", "experiment_tag", "time_this_iter_s", "time_total_s", "time_since_restore",
    "iterations_since_restore", "training_iteration", "checkpoint_dir_name",
}  # fmt: skip
"""Fields of a result that are no metric."""


def find(path: Path) -> list[Path]:
    """The results of one trial, or of an experiment's trials."""
    if path.name == RESULTS and path.is_file():
        return [path]
    own = [path / RESULTS] if (path / RESULTS).is_file() else []
    return own or (sorted(path.glob(f"*/{RESULTS}")) if path.is_dir() else [])


def read(path: Path) -> list[ForeignRun]:
    """One trial."""
    numbers, lines, last, torn = Numbers(), [], {}, False
    rows = path.read_bytes().decode("utf-8", "replace").split("\n")
    for number, text in enumerate(rows, start=1):
        if not text.strip():
            continue
        try:
            result = json.loads(text)
        except (ValueError, RecursionError):
            if number == len(rows):
                torn = True  # without an end of line: it was being written
                continue
            raise UsageError(f"{path}, line {number} is not JSON; restore the file from a copy") from None
        if not isinstance(result, dict):
            raise UsageError(f"{path}, line {number} is not a result of Ray Tune; restore the file from a copy")
        last = result
        metrics = numbers.of({name: value for name, value in result.items() if name not in _ABOUT}, null=_NULL)
        lines.append(
            {"step": whole(result.get("training_iteration")), "epoch": whole_epoch(metrics), "metrics": metrics}
        )
    settings = last.get("config")
    name = str(last.get("trial_id") or path.parent.name)
    run = ForeignRun(
        RAY_TUNE, path.parent.parent.name, name, path, sha256(path), settings if isinstance(settings, dict) else {}
    )
    run.lines = lines
    run.about = {"host": last.get("hostname"), "seconds": numbers.of({"s": last.get("time_total_s")}).get("s")}
    run.about["state"] = (
        "failed" if (path.parent / "error.txt").is_file() else "complete" if last.get("done") is True else None
    )
    run.caveats = numbers.caveats()
    steps = [line["step"] for line in lines]
    if len(set(steps)) < len(steps):
        run.caveats.append("iterations repeat: the trial was restored, and what it had done since was recorded again")
    if torn:
        run.caveats.append("the last line is torn")
    if not lines:
        run.caveats.append("no result was recorded")
    return [run]
