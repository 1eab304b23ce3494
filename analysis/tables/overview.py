"""All studies of a results folder in a line each: how far they are, what they say, what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from analysis.frames.read import Frames
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, duration, money
from analysis.tables.milestones import Milestone

ALIVE = 150.0
"""Seconds since a driver's last line below which it counts as running: it notes that it lives once a minute."""


def studies_sheet(frames: Frames, now: datetime) -> Sheet:
    """One row per study."""
    rows = [_row(frames, study, now) for study in frames.studies.to_dict("records")]
    columns = ["study", "state", "trials", "runs", "declared contrasts", "time", "USD"]
    return Sheet("Studies", columns, rows, 2, optional=(6, 2))


def milestones_sheet(found: Iterable[Milestone]) -> Sheet:
    """One row per need of each milestone."""
    rows = []
    for one in found:
        rows.append([f"{one.name} {one.title}", "", one.state])
        rows += [["", need.about, f"{'yes' if need.met else 'no'}: {need.found}"] for need in one.needs]
    return Sheet("Milestones, by what is on record", ["milestone", "needs", "found"], rows, 3)


def running(frames: Frames, now: datetime) -> list[str]:
    """A sentence per study that runs, with its machine and its price; what all of them cost together."""
    said, price = [], 0.0
    for study, about in zip(frames.loaded, frames.studies.to_dict("records"), strict=True):
        if age(about, now) is None or age(about, now) > ALIVE or about["state"] != "unfinished":
            continue
        begin = next((line for line in reversed(study.decisions) if line["event"] == "begin"), {})
        rate = float(begin.get("usd_per_hour") or 0.0)
        price += rate
        gpus = f"{begin['workers'] * begin['gpus']:g} GPU per run, " if begin.get("gpus") else ""
        paid = f", {money(rate)} USD per hour" if rate else ""
        said.append(f"Running: {about['study']} on {begin.get('cores', '?')} cores, {gpus}{_ago(about, now)}{paid}.")
    total = frames.studies["usd"].sum(min_count=1)
    spent = f" and {money(total)} USD" if pd.notna(total) else ""
    took = frames.studies["seconds"].sum(min_count=1)
    said = said or ["Nothing is running."]
    if pd.notna(took):
        said.append(f"All studies took {duration(took)}{spent} so far.")
    return [*said, f"At this moment {money(price)} USD per hour."] if price else said


def age(about: dict[str, Any], now: datetime) -> float | None:
    """Seconds since a study's last decision; None if its time is not on record."""
    return None if pd.isna(about["updated"]) else max(0.0, (now - about["updated"]).total_seconds())


def _row(frames: Frames, about: dict[str, Any], now: datetime) -> list[str]:
    name = about["study"]
    trials = frames.trials[(frames.trials["study"] == name) & (frames.trials["trial"] >= 0)]
    ended = int((trials["state"] != "unfinished").sum())
    runs = frames.runs[(frames.runs["study"] == name) & (frames.runs["phase"] == "verdict")]
    verdicts = frames.contrasts[(frames.contrasts["study"] == name) & frames.contrasts["primary"].astype(bool)][
        "verdict"
    ]
    words = ", ".join(f"{count} {word}" for word, count in verdicts.value_counts(sort=False).items())
    seconds = duration(about["seconds"]) if pd.notna(about["seconds"]) else EMPTY
    planned = about["planned"] if pd.notna(about["planned"]) else len(trials)
    return [
        name, _state(about, now), f"{ended}/{planned}", f"{int(runs['complete'].fillna(False).sum())}/{len(runs)}",
        words or EMPTY, seconds, money(about["usd"]) if pd.notna(about["usd"]) else EMPTY,
    ]  # fmt: skip


def _state(about: dict[str, Any], now: datetime) -> str:
    if about["state"] != "unfinished":
        return about["state"]
    since = age(about, now)
    if since is None:
        return "unfinished"
    return f"running, {_ago(about, now)}" if since <= ALIVE else f"stopped {_ago(about, now)}: --resume"


def _ago(about: dict[str, Any], now: datetime) -> str:
    since = age(about, now) or 0.0
    return f"{duration(since)} ago" if since < 172800 else f"{since / 86400:.0f} days ago"
