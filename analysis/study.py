"""A study folder as data frames: every trial, every validation epoch, every compared run.

Missing values stay missing: a metric that is null on record, a run without a record and a run that
did not reach its end give NaN, never 0 and never a dropped row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.runs import Run, read_lines, read_run
from trainer.errors import UsageError

_TRIAL_COLUMNS = ["trial", "run_id", "arm_id", "source", "state", "epoch", "value", "stop_reason", "teacher", "lambda_rate"]
_CURVE_COLUMNS = ["run_id", "arm_id", "seed", "epoch", "probe_epoch", "views"]
_FINAL_COLUMNS = [
    "arm_id", "role", "label", "teacher", "lambda_rate", "reference", "peer", "seed", "run_id", "search_value", "epoch", "complete",
    "problem", "gate_passed", "collapsed", "views", "probe_epoch", "commit", "dirty",
]  # fmt: skip


@dataclass(frozen=True)
class Study:
    """What a study folder holds.

    Attributes:
        folder: where it was read from.
        info: study.json.
        search: one row per trial, in order: trial, run_id, arm_id, source, state (``unfinished`` while
            it has not ended), epoch (reached), value (percent; NaN if none or diverged), stop_reason, and one
            column per searched setting (teacher, lambda_rate, ...).
        curves: one row per (run_id, epoch) on validation: seed, probe_epoch, views, one column per
            metric under its name on record, ``seconds.<kind>`` and ``core_seconds.<kind>``.
        finals: one row per run of every compared arm, at the study's last epoch (``untrained``: at
            epoch 0): who it is, epoch (reached), complete, problem (text, "" if complete), gate_passed
            and collapsed (True, False or NA), views, commit, dirty, and one column per metric.
            Metrics are NaN where complete is False. ``collapsed`` means: effective rank of z below
            half of what it was in the same run before training.
        sessions: what each driver that ended noted last: wall ``seconds``, ``cores`` and ``finished``.
    """

    folder: Path
    info: dict[str, Any]
    search: pd.DataFrame
    curves: pd.DataFrame
    finals: pd.DataFrame
    sessions: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return str(self.info.get("study") or self.folder.name)


def load(folder: str | Path) -> Study:
    """Read a study folder, finished or not.

    Raises:
        UsageError: there is no study in the folder, or one of its files is damaged. (A torn last
            line, as a kill leaves it, is passed over.)
    """
    folder = Path(folder)
    info = _info(folder)
    decisions = read_lines(folder / "decisions.jsonl")
    paths = sorted((folder / "runs").glob("*/records.jsonl"))
    runs = {path.parent.name: read_run(path) for path in paths}
    compared = _latest(decisions, "compare", ("arm_id", "role"), folder)
    sessions = [line for line in decisions if line.get("event") == "session"]
    return Study(folder, info, _search(decisions, folder), _curves(runs), _finals(compared, runs, info), sessions)


def values(rows: pd.DataFrame, metric: str) -> pd.Series:
    """A metric of each row as float; NaN where it is missing.

    ``@M`` at the end of ``metric`` stands for the number of observed views of the row's own run, so
    ``linacc/z_agg@M`` reads ``linacc/z_agg@3`` in a run with three.
    """
    if not metric.endswith("@M"):
        return rows[metric].astype(float) if metric in rows else pd.Series(float("nan"), rows.index)
    found = pd.Series(float("nan"), rows.index)
    for views in rows["views"].dropna().unique():
        name = f"{metric[:-1]}{int(views)}"
        if name in rows:
            of_these = rows["views"].eq(views).fillna(False).astype(bool)
            found[of_these] = rows.loc[of_these, name].astype(float)
    return found


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "study.json"
    if not path.is_file():
        raise UsageError(f"{folder} is not a study folder: it holds no study.json")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}); restore it from a copy") from None
    if not isinstance(info, dict):
        raise UsageError(f"{path} must hold one JSON object")
    return info


def _latest(decisions: list[dict[str, Any]], event: str, by: tuple[str, ...], folder: Path) -> dict[Any, dict[str, Any]]:
    """The last decision per key, in the order in which the keys first came: a resumed study repeats itself."""
    found: dict[Any, dict[str, Any]] = {}
    for line in decisions:
        if line.get("event") == event:
            missing = [key for key in by if key not in line]
            if missing:
                raise UsageError(f"{folder / 'decisions.jsonl'}: a {event} line has no {missing[0]}")
            found[tuple(line[key] for key in by)] = line
    return found


def _search(decisions: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    finished = _latest(decisions, "finish", ("trial",), folder)
    stopped = _latest(decisions, "stop", ("trial",), folder)
    rows = []
    for key, line in sorted(_latest(decisions, "suggest", ("trial",), folder).items()):
        end = finished.get(key, {})
        params = line.get("params") or {}
        row = {name: line.get(name) for name in ("trial", "run_id", "arm_id", "source")}
        row |= {"state": end.get("state", "unfinished"), "epoch": end.get("epoch")}
        # a trial that diverged or failed has no score, whatever number it was ended with
        row["value"] = end.get("value") if row["state"] in ("complete", "pruned") else None
        row["stop_reason"] = stopped.get(key, {}).get("reason", "")
        rows.append(row | {name: value for name, value in params.items() if name not in row})
    return _frame(rows, _TRIAL_COLUMNS, number=("value", "lambda_rate"), whole=("trial", "epoch"))


def _curves(runs: dict[str, Run]) -> pd.DataFrame:
    rows = []
    for run_id, run in runs.items():
        for epoch, line in sorted(run.evals.items()):
            row = {"run_id": run_id, "arm_id": run.arm_id, "seed": run.seed, "epoch": epoch}
            row |= {"probe_epoch": line.get("probe_epoch"), "views": run.views}
            for field in ("seconds", "core_seconds"):
                row |= {f"{field}.{kind}": value for kind, value in (line.get(field) or {}).items()}
            rows.append(row | line["metrics"])
    return _frame(rows, _CURVE_COLUMNS, whole=("seed", "epoch", "probe_epoch", "views"))


def _finals(compared: dict[Any, dict[str, Any]], runs: dict[str, Run], info: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for (arm_id, role), line in compared.items():
        run_ids, seeds = line.get("runs") or [], line.get("seeds") or []
        if len(run_ids) != len(seeds):
            raise UsageError(f"arm {arm_id} ({role}) lists {len(run_ids)} runs for {len(seeds)} seeds in decisions.jsonl")
        arm = {"arm_id": arm_id, "role": role, "label": line.get("label") or f"{role} {line.get('teacher') or ''}".strip()}
        arm |= {name: line.get(name) for name in ("teacher", "lambda_rate", "reference", "peer", "search_value")}
        for seed, run_id in zip(seeds, run_ids, strict=True):
            rows.append(arm | {"seed": seed, "run_id": run_id} | _end(runs.get(run_id), role, info))
    whole = ("seed", "epoch", "views", "probe_epoch")
    frame = _frame(rows, _FINAL_COLUMNS, number=("lambda_rate", "search_value"), whole=whole)
    return frame.astype({"complete": bool, "gate_passed": "boolean", "collapsed": "boolean", "dirty": "boolean"})


def _end(run: Run | None, role: str, info: dict[str, Any]) -> dict[str, Any]:
    """The columns that depend on how far a run came; None is a run without a record."""
    if run is None:
        return {"complete": False, "problem": "no record", "epoch": None, "commit": "unknown"}
    trained = role != "untrained"
    last = (info.get("epochs") or run.epochs) if trained else 0
    problem = run.problem(last) if trained else ("" if 0 in run.evals else "no epoch 0 on record")
    row: dict[str, Any] = {"complete": not problem, "problem": problem, "commit": run.commit, "dirty": run.dirty}
    row |= {"epoch": run.reached if problem else last, "views": run.views}
    if problem:
        return row
    metrics, probe_epoch = run.at(last)
    row |= {"probe_epoch": probe_epoch} | metrics
    if trained:
        row |= {"gate_passed": (run.stop.get("gate") or {}).get("passed"), "collapsed": run.collapsed(last)}
    return row


def _frame(
    rows: list[dict[str, Any]], columns: list[str], number: tuple[str, ...] = (), whole: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Rows as a frame with at least ``columns``; metrics and seconds float, ``whole`` nullable integers."""
    frame = pd.DataFrame(rows)
    frame = frame.reindex(columns=columns + [name for name in frame.columns if name not in columns])
    metrics = [name for name in frame.columns if "/" in name or name.startswith(("seconds.", "core_seconds."))]
    types: dict[str, str] = {name: "float64" for name in (*metrics, *number)}
    return frame.astype(types | {name: "Int64" for name in whole})
