"""The search trials of a study, and those it took over from earlier ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.recorded.declared import Declared
from analysis.recorded.typed import typed

SCORED = ("complete", "pruned")
"""Ends that leave a score. What a collapsed or diverged trial measured last says nothing about its settings."""
NOT_RUN = {"failed": "not run (failed)", "out_of_memory": "not run (out of memory)"}
"""Ends of a job whose attempts all failed, in words."""

COLUMNS = [
    "trial", "name", "run_id", "arm_id", "source", "label", "state", "epoch", "value", "stop_reason",
    "objective.linacc", "objective.r2_action",
]  # fmt: skip


def own_trials(decisions: list[dict[str, Any]], asked: Declared) -> pd.DataFrame:
    """One row per suggested trial; see ``Study.search``."""
    ends = _by_trial(decisions, "finish")
    stops = _by_trial(decisions, "stop")
    again = _started_again(decisions)
    rows = []
    for number, line in sorted(_by_trial(decisions, "suggest").items()):
        end = ends.get(number, {"state": "unfinished"})
        if number in again and end.get("state") in NOT_RUN:
            end = {"state": "unfinished"}
        name = line.get("name") or f"t{number:03d}"  # as a driver names it
        rows.append(_row(line, end) | {"name": name, "stop_reason": stops.get(number, {}).get("reason", "")})
    return _frame(rows, asked)


def warm_trials(decisions: list[dict[str, Any]], asked: Declared) -> pd.DataFrame:
    """One row per trial of an earlier study, ``from`` being its name, in the order of the record."""
    rows = [
        _row(line, line) | {"from": line.get("from"), "source": "warm"}
        for line in decisions
        if line.get("event") == "warm"
    ]
    return _frame(rows, asked, "from")


def all_trials(own: pd.DataFrame, warm: pd.DataFrame) -> pd.DataFrame:
    """Both kinds in one frame; ``own`` tells them apart."""
    mine = own.assign(own=True)
    return pd.concat([mine, warm.assign(own=False)], ignore_index=True) if len(warm) else mine


def not_run(decisions: list[dict[str, Any]]) -> dict[str, str]:
    """Runs of the comparison that were given up, with why, by run id."""
    ends = {
        line.get("run_id"): line for line in decisions if line.get("event") == "finish" and line.get("trial") is None
    }
    return {run_id: NOT_RUN[line["state"]] for run_id, line in ends.items() if line.get("state") in NOT_RUN}


def _row(who: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    row = {name: who.get(name) for name in ("trial", "name", "run_id", "arm_id", "source", "label")}
    row |= {"state": end.get("state"), "epoch": end.get("epoch")}
    # where the end was told to the sampler the scores stand by name; before that there was one
    measured = end.get("objectives") or {"linacc": end.get("value")}
    scored = row["state"] in SCORED
    row["value"] = end.get("value", measured.get("linacc")) if scored else None
    row |= {f"objective.{name}": value if scored else None for name, value in measured.items()}
    return row | {name: value for name, value in (who.get("params") or {}).items() if name not in row}


def _by_trial(decisions: list[dict[str, Any]], event: str) -> dict[int, dict[str, Any]]:
    """The last line of each trial: a resumed study repeats itself."""
    return {line["trial"]: line for line in decisions if line.get("event") == event and line.get("trial") is not None}


def _started_again(decisions: list[dict[str, Any]]) -> set[int]:
    """Trials started after their last end: a later driver tries once more what failed for good."""
    found: set[int] = set()
    for line in decisions:
        if line.get("event") == "start":
            found.add(line.get("trial"))
        elif line.get("event") == "finish":
            found.discard(line.get("trial"))
    return found


def _frame(rows: list[dict[str, Any]], asked: Declared, *more: str) -> pd.DataFrame:
    names = [column.name for column in asked.columns]
    numbers = [column.name for column in asked.columns if column.number]
    return typed(rows, [*COLUMNS, *names, *more], number=("value", *numbers), whole=("trial", "epoch"))
