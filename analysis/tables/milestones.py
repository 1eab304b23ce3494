"""How far the plan's milestones are, by what is on record. What each needs is data: ``reference/milestones.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.frames.columns import FOREIGN
from analysis.frames.read import Frames
from analysis.statistics.family import BETTER, NOT_RESOLVED, WORSE

ANSWERED = (BETTER, WORSE, NOT_RESOLVED)
COUNTED = ("verdict", "single")
"""Phases whose runs count: the search's chose, and measure nothing any more."""
UNTRAINED = "untrained"
"""Role of an arm that is another's start, and no run of its own."""


class Need(NamedTuple):
    """One thing that a milestone needs; ``found`` is the study and arm that has it, or what was there instead."""

    about: str
    met: bool
    found: str


class Milestone(NamedTuple):
    name: str
    title: str
    needs: list[Need]

    @property
    def state(self) -> str:
        """``reached``, ``2 of 4``, ``not begun``."""
        met = sum(need.met for need in self.needs)
        return "reached" if met == len(self.needs) else f"{met} of {len(self.needs)}" if met else "not begun"


def milestones(frames: Frames, path: Path) -> list[Milestone]:
    """Judge every milestone of a file.

    A need names settings of an arm (``where``: allowed values, or ``above`` and ``least``), and of its complete runs:
    how many ``seeds`` (1), that each passed its ``gate``, that none ``collapsed`` (false), which ``metrics`` they have
    (by the beginning of the name), how many ``values`` of a setting are there, and whether a declared contrast of such
    an arm with another was ``answered``. Runs of a search, and what came from elsewhere, count for nothing.
    """
    asked = json.loads(path.read_text(encoding="utf-8"))
    return [Milestone(one["name"], one["title"], [_judged(frames, need) for need in one["needs"]]) for one in asked]


def _judged(frames: Frames, need: dict[str, Any]) -> Need:
    arms = frames.arms[~frames.arms["origin"].isin(FOREIGN) & (frames.arms["role"] != UNTRAINED)]
    for column, allowed in need["where"].items():
        arms = arms[_allowed(arms[column], allowed)] if column in arms else arms[:0]
    if arms.empty:
        return Need(need["about"], False, "no such arm")
    runs = frames.runs[frames.runs["complete"].fillna(False).astype(bool) & frames.runs["phase"].isin(COUNTED)]
    kept, most = [], 0
    for place, arm in arms.iterrows():
        of_arm = runs[(runs["study"] == arm["study"]) & (runs["arm_id"] == arm["arm_id"])]
        most = max(most, of_arm["seed"].nunique())
        if of_arm["seed"].nunique() >= need.get("seeds", 1) and _runs_have(frames, need, of_arm):
            kept.append(place)
    good = arms.loc[kept]
    if good.empty:
        wanted = need.get("seeds", 1)
        few = f"{most} of {wanted} seeds" if most < wanted else "its runs do not meet it"
        return Need(need["about"], False, few)
    for column, least in need.get("values", {}).items():
        if (n := good[column].nunique() if column in good else 0) < least:
            return Need(need["about"], False, f"{n} of {least}")
    if need.get("answered"):
        answered = _answered(frames, good)
        return Need(need["about"], answered is not None, answered or "no such contrast with a verdict")
    first = good.iloc[0]
    return Need(need["about"], True, f"{first['study']}: {first['arm']}")


def _allowed(values: pd.Series, allowed: Any) -> pd.Series:
    if isinstance(allowed, dict):
        numbers = pd.to_numeric(values, errors="coerce")
        return numbers.gt(allowed["above"]) if "above" in allowed else numbers.ge(allowed["least"])
    return values.isin(allowed).fillna(False).astype(bool)


def _runs_have(frames: Frames, need: dict[str, Any], runs: pd.DataFrame) -> bool:
    if need.get("gate") and not runs["gate_passed"].fillna(False).all():
        return False
    if need.get("collapsed") is False and runs["collapsed"].fillna(True).any():
        return False
    if not need.get("metrics"):
        return True
    epochs = frames.epochs[frames.epochs["run_id"].isin(runs["run_id"]) & frames.epochs["study"].isin(runs["study"])]
    known = [name for name in epochs.columns[epochs.notna().any()] if "/" in name]
    return all(any(name.startswith(beginning) for name in known) for beginning in need["metrics"])


def _answered(frames: Frames, arms: pd.DataFrame) -> str | None:
    """The first declared contrast with a verdict of which one side is among ``arms``: between two of them it asks
    something else."""
    found = frames.contrasts[frames.contrasts["primary"].astype(bool) & frames.contrasts["verdict"].isin(ANSWERED)]
    who = set(zip(arms["study"], arms["arm_id"], strict=True))
    sides = ("arm_id", "reference_arm_id")
    of_one = (row for _, row in found.iterrows() if sum((row["study"], row[side]) in who for side in sides) == 1)
    return next((f"{row['study']}: {row['contrast']}, {row['verdict']}" for row in of_one), None)
