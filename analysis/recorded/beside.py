"""Runs of a study that are neither trials nor of an arm on the seed list: those of its races and its noise floor."""

from __future__ import annotations

from typing import Any

RACE, NOISE_FLOOR = "race", "noise floor"


def beside(decisions: list[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """What each was run for, and the label of its settings, by run id."""
    labels = {line["trial"]: line.get("label") for line in decisions if line["event"] == "suggest"}
    found: dict[str, tuple[str, str | None]] = {}
    for line in decisions:
        if line["event"] == "race":
            for trial, runs in zip(line["trials"], line["race_runs"], strict=True):
                found |= dict.fromkeys(runs, (RACE, labels.get(trial)))
        elif line["event"] == "noise":
            found |= dict.fromkeys(line["runs"], (NOISE_FLOOR, line.get("label")))
    return found
