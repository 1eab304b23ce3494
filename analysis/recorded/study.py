"""A study folder as data frames: every trial, every validation epoch, every compared run.

Missing values stay missing: a metric that is null on record, a run without a record and a run that
did not reach its end give NaN, never 0 and never a dropped row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.recorded.arms import Arms, Key
from analysis.recorded.beside import beside
from analysis.recorded.chosen import selections, superseded
from analysis.recorded.declared import Declared, arm_key, declared
from analysis.recorded.runs import Run, read_run
from analysis.recorded.trials import not_run, own_trials, warm_trials
from analysis.recorded.typed import typed
from trainer.errors import RecordError, UsageError
from trainer.record.looks import looks
from trainer.record.run_lines import parts_in_words
from trainer.record.study_lines import read_decisions, read_info

_CURVE_COLUMNS = ["run_id", "arm_id", "seed", "epoch", "probe_epoch", "views"]
_FINAL_COLUMNS = [
    "arm_id", "role", "key", "label", "reference", "peer", "seed", "run_id", "search_value", "place", "epoch",
    "complete",
    "problem", "gate_passed", "collapsed", "views", "probe_epoch", "commit", "dirty", "parameters", "parameter_parts",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Study:
    """What a study folder holds.

    Attributes:
        folder: where it was read from.
        info: study.json.
        declared: the question, its primary contrasts and what the arms are.
        decisions: the lines of decisions.jsonl.
        search: one row per trial, in order: trial, name, run_id, arm_id, source, label, state (``unfinished`` while
            it has not ended), epoch (reached), value (percent; NaN unless complete or pruned), stop_reason, one column
            per searched setting and ``objective.<name>``.
        warm: the same for the trials taken over from earlier studies, ``from`` being the study's name.
        chosen: per level what the search chose last, best first; see ``chosen.selections``.
        dropped: (arm_id, role) of arms compared because of an earlier choice; they are not in ``finals``.
        curves: one row per (run_id, epoch) on validation: seed, probe_epoch, views, one column per
            metric under its name on record, ``seconds.<kind>`` and ``core_seconds.<kind>``.
        finals: one row per run of every compared arm, at the study's last epoch (``untrained``: at
            epoch 0): who it is, its shown settings, place (in the search's ranking of its level), epoch (reached),
            complete, problem (text, "" if complete), gate_passed and collapsed (True, False or NA), views, commit,
            dirty, parameters (trained), parameter_parts (text: of which part), and one column per metric. Metrics are
            NaN where complete is False. ``collapsed`` means: effective rank of z below half of what it was in the same
            run before training; ``commit`` is None without a record.
        runs: what each run's record says, by run_id.
    """

    folder: Path
    info: dict[str, Any]
    declared: Declared
    decisions: list[dict[str, Any]]
    search: pd.DataFrame
    warm: pd.DataFrame
    chosen: dict[str | None, list[dict[str, Any]]]
    dropped: list[tuple[str, str]]
    curves: pd.DataFrame
    finals: pd.DataFrame
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.info.get("study") or self.folder.name)

    @property
    def command(self) -> str:
        """With which its last session was started; empty where none is on record."""
        noted = [line["command"] for line in self.decisions if line["event"] == "begin" and line.get("command")]
        return str(noted[-1]) if noted else ""

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which the study planned to look at its contrasts."""
        return looks(len(self.info.get("seeds") or ()), self.info.get("until"))

    @cached_property
    def beside(self) -> dict[str, tuple[str, str | None]]:
        return beside(self.decisions)

    @cached_property
    def arms(self) -> Arms:
        aliases = {
            str(line["key"]): (line["arm_id"], line["role"])
            for line in self.decisions
            if line["event"] == "compare" and line.get("key")
        }
        return Arms(self.finals, self.declared, aliases)

    def measured(self, metric: str, key: Key) -> np.ndarray:
        """A metric of an arm's runs, in the order of ``arms.rows``; NaN where it is missing."""
        if metric not in self._columns:
            self._columns[metric] = values(self.finals, metric).to_numpy()
        return self._columns[metric][self.arms.positions[key]]

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    def step(self, metric: str) -> float:
        """Resolution of a metric: the smallest gap between two values on record, 0 if there are none.

        An accuracy over n images comes in steps of 100 / n; of a metric without steps the gap is next to nothing.
        """
        if metric not in self._steps:
            known = np.unique(values(self.curves, metric).dropna())
            gaps = np.diff(known)
            # a smaller one is rounding of the division
            self._steps[metric] = float(min(gaps[gaps > 1e-9], default=0.0))
        return self._steps[metric]

    @cached_property
    def _steps(self) -> dict[str, float]:
        return {}

    def setting(self, group: str, name: str, default: Any = None) -> Any:
        """A value of a group of study.json (``search``, ``stopping``, ``limits``); older studies lack some."""
        return (self.info.get(group) or {}).get(name, default)


def load(folder: str | Path, read: Callable[[Path], Run] = read_run) -> Study:
    """Read a study folder, finished or not.

    Args:
        read: reads a run's record; whoever reads again and again remembers what has not changed.

    Raises:
        UsageError: there is no study in the folder, or one of its files is damaged. (A torn last
            line, as a kill leaves it, is passed over.)
    """
    folder = Path(folder)
    if not (folder / "study.json").is_file():
        near = sorted(file.parent for where in (folder, folder.parent) for file in where.glob("*/study.json"))
        there = f"; studies near it: {', '.join(map(str, near[:5]))}{', ...' if len(near) > 5 else ''}" if near else ""
        why = "it holds no study.json" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"{folder} is not a study folder: {why}{there}")
    try:
        info = read_info(folder / "study.json")
        decisions = read_decisions(folder / "decisions.jsonl")
        paths = sorted((folder / "runs").glob("[!.]*/records.jsonl"))
        runs = {path.parent.name: read(path) for path in paths}
    except RecordError as error:
        raise UsageError(str(error)) from None
    compared = {(line["arm_id"], line["role"]): line for line in decisions if line["event"] == "compare"}
    asked = declared(info, {role for _, role in compared}, str(folder / "study.json"))
    chosen = selections(decisions, asked, str(folder / "decisions.jsonl"))
    dropped = superseded(compared, chosen, asked)
    for key in dropped:
        del compared[key]
    finals = _finals(compared, runs, info, asked, not_run(decisions))
    own, warm = own_trials(decisions, asked), warm_trials(decisions, asked)
    return Study(folder, info, asked, decisions, own, warm, chosen, dropped, _curves(runs), finals, runs)


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


def _curves(runs: dict[str, Run]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    alike: dict[tuple[str, ...], tuple[list[int], list[list[float | None]]]] = {}
    for run_id, run in runs.items():
        for epoch, line in sorted(run.evals.items()):
            measured: dict[str, float | None] = {}
            for clock in ("seconds", "core_seconds"):
                measured |= {f"{clock}.{kind}": value for kind, value in (line.get(clock) or {}).items()}
            measured |= line["metrics"]
            at, found = alike.setdefault(tuple(measured), ([], []))  # rows with the same names make one array
            at.append(len(rows))
            found.append(list(measured.values()))
            row = {"run_id": run_id, "arm_id": run.arm_id, "seed": run.seed, "epoch": epoch}
            rows.append(row | {"probe_epoch": line.get("probe_epoch"), "views": run.views})
    frame = typed(rows, _CURVE_COLUMNS, whole=("seed", "epoch", "probe_epoch", "views"))
    names = pd.Index(list(dict.fromkeys(name for kind in alike for name in kind)), dtype=object)
    numbers = np.full((len(rows), len(names)), np.nan)
    for kind, (at, found) in alike.items():
        numbers[np.ix_(at, names.get_indexer(list(kind)))] = np.array(found, dtype=float)
    return pd.concat([frame, pd.DataFrame(numbers, columns=names)], axis=1)


def _finals(
    compared: dict[Any, dict[str, Any]],
    runs: dict[str, Run],
    info: dict[str, Any],
    asked: Declared,
    given_up: dict[str, str],
) -> pd.DataFrame:
    rows = []
    names = [column.name for column in asked.columns]
    twins = {
        line["reference"]: asked.level(line)
        for (_, role), line in compared.items()
        if role == "best" and line.get("reference")
    }
    for (arm_id, role), line in compared.items():
        run_ids, seeds = line.get("runs") or [], line.get("seeds") or []
        label = line.get("label") or f"{role} {asked.level(line) or ''}".strip()
        arm = {"arm_id": arm_id, "role": role, "key": arm_key(line, info, asked, twins), "label": label}
        arm |= {name: line.get(name) for name in (*names, "reference", "peer", "search_value", "place")}
        for seed, run_id in zip(seeds, run_ids, strict=True):
            end = _end(runs.get(run_id), role, info)
            if end["problem"] and run_id in given_up:
                end["problem"] = given_up[run_id]
            rows.append(arm | {"seed": seed, "run_id": run_id} | end)
    whole = ("place", "seed", "epoch", "views", "probe_epoch", "parameters")
    numbers = [column.name for column in asked.columns if column.number]
    frame = typed(rows, [*_FINAL_COLUMNS, *names], number=(*numbers, "search_value"), whole=whole)
    return frame.astype({"complete": bool, "gate_passed": "boolean", "collapsed": "boolean", "dirty": "boolean"})


def _end(run: Run | None, role: str, info: dict[str, Any]) -> dict[str, Any]:
    """The columns that depend on how far a run came; None is a run without a record."""
    if run is None:
        return {"complete": False, "problem": "no record", "epoch": None, "commit": None}
    trained = role != "untrained"
    last = (info.get("epochs") or run.epochs) if trained else 0
    problem = run.problem(last) if trained else ("" if 0 in run.evals else "no epoch 0 on record")
    row: dict[str, Any] = {"complete": not problem, "problem": problem, "commit": run.commit, "dirty": run.dirty}
    row |= {"epoch": run.reached if problem else last, "views": run.views}
    row |= {"parameters": run.parameters.get("total"), "parameter_parts": parts_in_words(run.parameters)}
    if problem:
        return row
    metrics, probe_epoch = run.at(last)
    row |= {"probe_epoch": probe_epoch} | metrics
    if trained:
        row |= {"gate_passed": (run.stop.get("gate") or {}).get("passed"), "collapsed": run.collapsed(last)}
    return row
