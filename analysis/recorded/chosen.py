"""Which compared arms are those that the search chose last.

A study may grow: a longer search can choose other arms, while the lines of the earlier choice stay on record.
"""

from __future__ import annotations

from typing import Any

from analysis.recorded.declared import Declared
from trainer.errors import UsageError

CHOSEN = ("best", "candidate")

Key = tuple[str, str]
"""(arm_id, role)."""


def selections(decisions: list[dict[str, Any]], asked: Declared, where: str) -> dict[str | None, list[dict[str, Any]]]:
    """Per level the last choice, best first: trial (negative: of an earlier study), arm_id, value, epoch.

    Args:
        where: the file, for messages.

    Raises:
        UsageError: a choice that does not say whose it is.
    """
    arm_ids = {line["trial"]: line.get("arm_id") for line in decisions if line.get("event") == "suggest"}
    warm = [line for line in decisions if line.get("event") == "warm"]
    arm_ids |= {-number: line.get("arm_id") for number, line in enumerate(warm, start=1)}
    nameless = asked.stratum and any(line.get("event") == "select" and asked.stratum not in line for line in decisions)
    if nameless:
        raise UsageError(
            f"{where}: a select line has no {asked.stratum}, so that it cannot be told whose choice it is; restore the"
            " file from a copy"
        )
    last = {asked.level(line): line for line in decisions if line.get("event") == "select" and "trials" in line}
    found = {}
    for level, line in last.items():
        columns = zip(line["trials"], line["values"], line["epochs"], strict=True)
        found[level] = [
            {"trial": trial, "arm_id": arm_ids.get(trial), "value": value, "epoch": epoch}
            for trial, value, epoch in columns
        ]
    return found


def superseded(
    compared: dict[Key, dict[str, Any]], chosen: dict[str | None, list[dict[str, Any]]], asked: Declared
) -> list[Key]:
    """Arms that only an earlier choice brought into the comparison, and the references that nothing refers to any
    more."""
    old = [
        key for key, line in compared.items() if key[1] in CHOSEN and not _current(key, chosen.get(asked.level(line)))
    ]
    kept = {line.get("reference") for key, line in compared.items() if key not in old}
    twins = {compared[key].get("reference") for key in old if key[1] == "best"} - kept
    return [*old, *((arm_id, asked.reference) for arm_id in twins if (arm_id, asked.reference) in compared)]


def _current(key: Key, choice: list[dict[str, Any]] | None) -> bool:
    if not choice or any(one["arm_id"] is None for one in choice):
        return True  # records from before choices named their trials
    places = [one["arm_id"] for one in choice]
    return key[0] in (places[:1] if key[1] == "best" else places[1:])
