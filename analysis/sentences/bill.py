"""Where a study's time and money went, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pandas as pd

from analysis.recorded.beside import NOISE_FLOOR, RACE
from analysis.recorded.study import Study
from analysis.rendering.render import duration, money
from analysis.statistics.cost import CUT, Cost

_LOST = {
    "failed": "failed",
    "out_of_memory": "out of memory",
    "hung": "hung",
    "preempted": "preempted",
    "memory_pressure": "killed when others used up the memory",
    "disk_full": "ended by a full disk",
    CUT: "cut when a session ended",
}


def costs(study: Study, table: pd.DataFrame, found: Cost) -> list[str]:
    """What was trained, held, lost and paid, and what early stopping saved.

    Args:
        table: the study's ``tables.comparison_table``.
        found: its ``cost.cost``.
    """
    said = [*_record(study), *_machine(study, found), *_money(study, found), *_most_expensive(table, found)]
    return [*said, *_lost(found.lost), *_saved(study)]


def _record(study: Study) -> list[str]:
    kinds = {
        name.removeprefix("seconds."): study.curves[name].sum() for name in study.curves if name.startswith("seconds.")
    }
    if not kinds:
        return []
    parts = ", ".join(
        f"{kind} {duration(seconds)}" for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1])
    )
    runs = study.curves["run_id"].nunique()
    return [f"Time on record over {runs} run{'' if runs == 1 else 's'}: {duration(sum(kinds.values()))} ({parts})."]


def _machine(study: Study, found: Cost) -> list[str]:
    if not found.known:
        return ["Cost unknown: this study was recorded before sessions and starts were noted with their times."]
    sessions = found.sessions
    cores = {session.begin["cores"] for session in sessions}
    where = f" on {cores.pop()} cores" if len(cores) == 1 else ""
    several = f" in {len(sessions)} sessions" if len(sessions) > 1 else ""
    open_ends = sum(not session.closed and bool(session.attempts) for session in sessions)
    several += f", {open_ends} without an end on record (killed, or still running)" if open_ends else ""
    text = f"The study took {duration(found.wall_seconds)}{where}{several}"
    if found.device is None:
        return [f"{text}. Some sessions used GPUs and some did not, so device-hours are not added up."]
    hours = _parts(study, found, "device_seconds", lambda seconds: f"{seconds / 3600:.2g}")
    total = found.runs["device_seconds"].sum() / 3600
    if not found.wall_seconds:
        return [f"{text}."]
    text += f"; its runs held {total:.2g} {found.device}-hours" + (f" ({hours})" if hours else "")
    return [f"{text}. {_shares(study, found)}"]


def _shares(study: Study, found: Cost) -> str:
    """Where the time went, in parts that add up: nobody's, held by runs that did not compute, and training and
    probes."""
    free = found.free
    used = study.curves[[name for name in study.curves if name.startswith("core_seconds.")]].sum().sum()
    available = sum(session.seconds * session.begin["cores"] for session in found.sessions)
    busy = used / available if available else 0.0
    text = f"Of that time {100 * free:.0f} % of the places had no run (start-up, idle)"
    # more is on record where runs were taken over from another study, and on a cluster not all cores are known
    if not 0 < busy <= 1 - free:
        return f"{text}."
    parts = [round(100 * free), round(100 * busy)]
    return (
        f"{text}, in {100 - sum(parts)} % runs started, waited or saved, or left cores unused, and in {parts[1]} % they"
        " trained and probed."
    )


def _money(study: Study, found: Cost) -> list[str]:
    if not found.priced:
        return []
    prices = sorted({session.price for session in found.sessions})
    rates = " and ".join(f"{price:g}" for price in prices)
    rest = f"start-up and idle {money(found.usd * found.idle)}"
    return [f"It cost {money(found.usd)} USD at {rates} USD per hour: {_parts(study, found, 'usd', money)}, {rest}."]


def _most_expensive(table: pd.DataFrame, found: Cost) -> list[str]:
    paid = table[table["device_seconds"] > 0] if len(table) else table
    if paid.empty:
        return []
    row = paid.loc[paid["device_seconds"].idxmax()]
    usd = f", {money(row['usd'])} USD" if found.priced else ""
    hours = f"{row['device_seconds'] / 3600:.2g} {found.device}-hours"
    return [f"Most expensive arm of the comparison: {row['arm']}, {hours}{usd}."]


def _lost(lost: Counter[str]) -> list[str]:
    if not lost:
        return []
    parts = ", ".join(f"{lost[kind]} {words}" for kind, words in _LOST.items() if lost[kind])
    total = sum(lost.values())
    again = "a run that is tried again continues from its last finished epoch"
    return [f"{total} attempt{' was' if total == 1 else 's were'} lost ({parts}); {again}."]


def _saved(study: Study) -> list[str]:
    epochs, search = study.info.get("epochs"), study.search
    stopped = search[search["state"].isin(["pruned", "collapsed"])]
    if not epochs or search.empty:
        return []
    if stopped.empty:
        return ["No trial was stopped early."]
    saved, planned = int((epochs - stopped["epoch"]).clip(lower=0).sum()), epochs * len(search)
    return [
        f"Stopped early: {len(stopped)} of {len(search)} trials, which saved {saved} of the {planned} epochs "
        f"({100 * saved / planned:.0f} %) of a search without stopping."
    ]


def _parts(study: Study, found: Cost, column: str, text: Callable[[float], str]) -> str:
    """The part of a column of what the runs were for."""
    trials = found.runs["trial"].notna()
    phases = [
        study.beside.get(name, ("search" if searched else "comparison",))[0]
        for name, searched in zip(found.runs["name"], trials, strict=True)
    ]
    parts = found.runs[column].groupby(pd.Series(phases, found.runs.index, dtype=object)).sum()
    order = (NOISE_FLOOR, "search", RACE, "comparison")
    return ", ".join(f"{phase} {text(parts[phase])}" for phase in order if phase in parts)
