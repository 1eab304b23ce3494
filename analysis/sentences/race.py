"""The race between the search's first few on fresh seeds, in sentences."""

from __future__ import annotations

import math
from typing import Any

from analysis.recorded.study import Study
from analysis.rendering.render import number


def races(study: Study) -> list[str]:
    """Per level, who ran against whom with which values, and who won."""
    labels = {line["trial"]: line.get("label") for line in study.decisions if line["event"] == "suggest"}
    warm = [line for line in study.decisions if line["event"] == "warm"]
    labels |= {-n: line.get("label") or f"trial {n} of those taken over" for n, line in enumerate(warm, start=1)}
    ends = {line.get("name"): line for line in study.decisions if line["event"] == "finish"}
    last, decided = {}, {}
    for line in study.decisions:
        level = study.declared.level(line)
        if line["event"] == "race":
            last[level] = line
            decided.pop(level, None)  # by an earlier race, of a shorter search
        elif line["event"] == "select":
            decided[level] = line["trials"]
    said = []
    for level, line in last.items():
        won = next((trial for trial in decided.get(level, ()) if trial in line["trials"]), None)
        seeds = ", ".join(str(seed) for seed in line["seeds"])
        of_level = f", {study.declared.stratum} {level}" if study.declared.stratum else ""
        entries = []
        for trial, value, runs in zip(line["trials"], line["values"], line["race_runs"], strict=True):
            name = labels.get(trial) or f"trial {trial}"
            entries.append(f"{name} {_mean([ends.get(run) for run in runs])} (search {_shown(value)})")
        end = (
            f"; compared is the winner, {labels.get(won) or f'trial {won}'}" if won is not None else "; not decided yet"
        )
        said.append(f"Race{of_level}, on seed {seeds}: {', '.join(entries)}{end}.")
    return said


def _mean(ends: list[dict[str, Any] | None]) -> str:
    if any(end is None for end in ends):
        return "not ended"
    values = [end.get("value") for end in ends if end is not None and end.get("state") == "complete"]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return number(sum(known) / len(known)) if len(known) == len(ends) else "no value"


def _shown(value: float | None) -> str:
    return "-" if value is None else number(value)
