"""What each arm of a comparison, and the search, took: runs, attempts, hours and money."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.frames.read import Frames
from analysis.recorded.beside import NOISE_FLOOR, RACE
from analysis.recorded.study import Study
from analysis.recorded.typed import typed
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, money
from analysis.statistics.cost import Cost, cost

COLUMNS = [
    "study", "phase", "arm", "name", "trial", "state", "attempts", "held_seconds", "device", "device_seconds", "usd",
    "epoch",
]  # fmt: skip
SEARCH, COMPARISON, IDLE, ALL = "search", "comparison", "start-up and idle", "all"
OF_RUNS = (NOISE_FLOOR, SEARCH, RACE, COMPARISON)
"""Phases; ``IDLE`` and ``ALL`` are rows of the whole study, not of a run."""
_NOTE = (
    "Hours that workers were held, all attempts of a run; device-hours are those of GPUs, or of cores where there were"
    " none. Whoever pays for a machine pays for all of its time: what no run held is start-up and idle."
)


def cost_numbers(frames: Frames) -> pd.DataFrame:
    """One row per trial and compared run, then start-up and idle time and the whole study.

    Seconds and dollars that are not on record are NaN; so are dollars without a price. ``held_seconds`` of the last two
    rows is wall time.
    """
    rows: list[dict[str, Any]] = []
    for study, name in frames.named():
        rows += ({"study": name} | row for row in _of_study(study))
    numbers, counts = ("held_seconds", "device_seconds", "usd"), ("trial", "attempts", "epoch")
    return typed(rows, COLUMNS, number=numbers, whole=counts, text=True)


def cost_sheets(found: pd.DataFrame) -> list[Sheet]:
    """One row for the search, for what else ran beside the arms, and for each arm, of the rows of one study."""
    runs = found[found["phase"].isin(OF_RUNS)]
    if runs.empty:
        return []
    groups = [(phase, of) for phase in OF_RUNS[:-1] if len(of := runs[runs["phase"] == phase])]
    compared = runs[runs["phase"] == COMPARISON]
    groups += list(compared.fillna({"arm": "no longer compared"}).groupby("arm", sort=False))
    whole = found[found["phase"] == ALL].iloc[0]
    rows = [_row(name, of, whole) for name, of in groups]
    for phase in (IDLE, ALL):
        line = found[found["phase"] == phase]
        rows += [_total(line.iloc[0], whole)] if len(line) else []
    device = next(iter(runs["device"].dropna()), "device")
    columns = ["arm", "runs", "attempts", "hours held", f"{device}-hours", "hours a run", "USD", "share"]
    return [Sheet(f"{found['study'].iloc[0]}: cost", columns, rows, notes=(_NOTE,))]


def cost_absent(study: Study, found: pd.DataFrame) -> list[str]:
    """What the table of a study lacks, in sentences."""
    if found.empty or not found["phase"].isin(OF_RUNS).any():
        return ["Nothing has started, so nothing was spent."]
    spent = cost(study)
    if not spent.known:
        return ["Times unknown: this study was recorded before sessions and starts were noted with their times."]
    return [] if spent.priced else ["No price was given (--usd-per-hour), so no dollars are known."]


def _of_study(study: Study) -> list[dict[str, Any]]:
    spent = cost(study)
    reached = {run_id: run.reached for run_id, run in study.runs.items()}
    of_trial = {trial["trial"]: trial["run_id"] for trial in study.search.to_dict("records")}
    rows = []
    for run in spent.runs.to_dict("records"):
        searched = pd.notna(run["trial"])
        record = of_trial.get(run["trial"]) if searched else run["name"]
        phase, label = study.beside.get(run["name"], (SEARCH if searched else COMPARISON, None))
        rows.append(run | {"phase": phase, "epoch": reached.get(record)} | ({"arm": label} if label else {}))
    order = {name: place for place, name in enumerate(study.arms.names[key] for key in study.arms.ordered)}
    rows.sort(key=lambda row: (OF_RUNS.index(row["phase"]), order.get(row["arm"], len(order))))
    rows += _whole(spent) if rows else []
    return [row | {"device": spent.device} for row in rows]


def _whole(spent: Cost) -> list[dict[str, Any]]:
    known = spent.known
    whole = {"phase": ALL, "name": ALL, "held_seconds": spent.wall_seconds if known else None, "usd": spent.usd}
    whole["device_seconds"] = spent.runs["device_seconds"].sum(min_count=1)
    if not known or pd.isna(spent.idle):
        return [whole]
    idle = {"phase": IDLE, "name": IDLE, "held_seconds": spent.free * spent.wall_seconds}
    return [idle | {"usd": spent.idle * spent.usd}, whole]


def _row(name: str, runs: pd.DataFrame, whole: pd.Series) -> list[str]:
    held, device, usd = (runs[column].sum(min_count=1) for column in ("held_seconds", "device_seconds", "usd"))
    attempts = runs["attempts"].sum(min_count=1)
    each = held / len(runs) if pd.notna(held) else held
    part, all_of_it = (usd, whole["usd"]) if whole["usd"] > 0 else (device, whole["device_seconds"])
    share = part / all_of_it if all_of_it > 0 else float("nan")
    return [
        name, str(len(runs)), EMPTY if pd.isna(attempts) else str(attempts), _hours(held), _hours(device), _hours(each),
        EMPTY if pd.isna(usd) else money(usd), EMPTY if pd.isna(share) else f"{100 * share:.0f} %",
    ]  # fmt: skip


def _total(line: pd.Series, whole: pd.Series) -> list[str]:
    usd = EMPTY if pd.isna(line["usd"]) else money(line["usd"])
    share = line["usd"] / whole["usd"] if pd.notna(line["usd"]) and whole["usd"] else float("nan")
    name = "all, wall time" if line["phase"] == ALL else line["phase"]
    return [
        name, EMPTY, EMPTY, _hours(line["held_seconds"]), _hours(line["device_seconds"]), EMPTY, usd,
        EMPTY if pd.isna(share) else f"{100 * share:.0f} %",
    ]  # fmt: skip


def _hours(seconds: float) -> str:
    return EMPTY if pd.isna(seconds) else f"{seconds / 3600:.3g}"
