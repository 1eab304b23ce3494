"""How far a study is: what is planned, what has ended, whether somebody still works on it, and how long that takes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from analysis.recorded.study import Study
from analysis.statistics.cost import Cost

SILENT_SECONDS = 300.0
"""A driver notes a tick every minute and an epoch when it ends; one that is silent for longer is taken for dead."""
EMPTY, RUNNING, INTERRUPTED, OUT_OF_BUDGET, COMPLETE = (
    "not started",
    "running",
    "interrupted",
    "budget spent",
    "complete",
)


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        state: one of the five words above.
        trials, trials_planned: search trials that ended, and all of them.
        runs, runs_planned: the same of the runs of the comparison.
        seconds_left: about, at the rate so far; NaN where nothing runs or nothing has ended.
        touched: time of the newest record, seconds since the epoch.
    """

    state: str
    trials: int
    trials_planned: int
    runs: int
    runs_planned: int
    seconds_left: float
    touched: float

    @property
    def alive(self) -> bool:
        """What is open may still be run."""
        return self.state in (EMPTY, RUNNING)

    @property
    def whole(self) -> bool:
        return self.state == COMPLETE


def progress(study: Study, spent: Cost, touched: float, now: float) -> Progress:
    trials = int((study.search["state"] != "unfinished").sum()) if len(study.search) else 0
    trained = study.finals.loc[study.finals["role"] != "untrained", "run_id"]
    compared = spent.runs[spent.runs["name"].isin(trained)]  # neither a race's runs nor those of the noise floor
    runs = int((compared["state"] != "unfinished").sum())
    planned_trials = max(int(study.info.get("num_trials") or 0), len(study.search))
    planned_runs = max(_planned_runs(study), len(compared))
    state = _state(study, touched, now, (planned_trials - trials) + (planned_runs - runs))
    if state == COMPLETE:  # arms that turn out to be one share their runs
        planned_runs = runs
    left = float("nan")
    if state == RUNNING and trials + runs and spent.known:
        left = spent.wall_seconds / (trials + runs) * (planned_trials + planned_runs - trials - runs)
    return Progress(state, trials, planned_trials, runs, planned_runs, left, touched)


def _planned_runs(study: Study) -> int:
    """Runs of the comparison by the declaration: an untrained arm reads another's epoch 0, arms with the same settings
    share theirs, and a searched level brings its best arms, at most one per trial, or the winner of their race, and the
    reference of the first."""
    info = study.info
    trained = (arm for arm in info.get("arms") or [] if arm.get("role") != "untrained")
    given = {json.dumps(arm.get("overrides", arm.get("key")), sort_keys=True) for arm in trained}
    levels = len(info.get("confirm") or []) if study.setting("search", "verdict", True) else 0
    trials, top = int(info.get("num_trials") or 0), study.setting("search", "top_k", 1)
    warm = trials and study.setting("search", "warm_start", [])  # trials of earlier studies may be chosen as well
    handed_on = [top if warm else min(top, len(range(level, trials, levels))) for level in range(levels)]
    race = study.setting("search", "race", 0)
    of_levels = sum((1 if race else most) + (study.declared.reference is not None) for most in handed_on if most)
    return (len(given) + of_levels) * len(info.get("seeds") or [])


def _state(study: Study, touched: float, now: float, left: int) -> str:
    events = [line for line in study.decisions if line["event"] in ("begin", "session")]
    if not study.decisions or not (len(study.search) or len(study.finals) or study.curves.shape[0]):
        return RUNNING if events and events[-1]["event"] == "begin" and now - touched < SILENT_SECONDS else EMPTY
    if not events:  # of before sessions were noted
        return COMPLETE if left <= 0 else INTERRUPTED
    last = events[-1]
    if last["event"] == "session":
        if last.get("finished"):
            return COMPLETE
        return OUT_OF_BUDGET if last.get("budget") else INTERRUPTED
    patience = max(SILENT_SECONDS, 5 * _epoch_seconds(study))
    return RUNNING if now - touched < patience else INTERRUPTED


def _epoch_seconds(study: Study) -> float:
    """The longest epoch on record, with its probes; 0 where none is."""
    kinds = [name for name in study.curves if name.startswith("seconds.")]
    longest = study.curves[kinds].sum(axis=1).max() if kinds and len(study.curves) else 0.0
    return float(longest) if math.isfinite(longest) else 0.0
