"""The compared arms in a table: what was chosen above, what it is measured against below."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.page.facts import Facts
from analysis.rendering.decimals import decimals
from analysis.rendering.render import interval, number, plus_minus, verdict
from analysis.statistics.comparison_table import group_of

SEARCHED, PARAMETERS = "search → confirmed", "parameters"
"""Columns of studies that search, and of those whose arms differ in how many they train."""


@dataclass(frozen=True)
class Group:
    """Rows of one kind; the first cell is the arm."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def arms_table(facts: Facts) -> list[Group]:
    """Two groups with the same columns; [] where nothing is compared."""
    table, asked = facts.table, facts.study.declared
    if table.empty:
        return []
    kinds = table["role"].map(asked.kind)
    chosen = kinds.isin(["best", "candidate", "grid"])
    columns = _columns(facts)
    idle = {SEARCHED: table["search_value"].isna().all(), PARAMETERS: table["parameters"].nunique() < 2}
    spare = [index for index, name in enumerate(columns) if idle.get(name, False)]
    parts = [
        ("Compared arms", table[chosen]),
        ("What they are measured against: references, controls, no training", table[~chosen]),
    ]
    return [
        Group(title, _without(columns, spare), [_without(_row(facts, row), spare) for _, row in rows.iterrows()])
        for title, rows in parts
        if len(rows)
    ]


def _without(cells: list[str], spare: list[int]) -> list[str]:
    return [cell for index, cell in enumerate(cells) if index not in spare]


def _columns(facts: Facts) -> list[str]:
    metric = facts.study.declared.metric
    unit = " (%)" if metric.unit == "percent" else f" ({metric.unit})" if metric.unit else ""
    measured = f"{metric.words.removeprefix('linear accuracy of ')}{unit}, mean ± 95 %"
    found = ["arm", measured, "n", "epoch", "minus reference [95 %]", "verdict"]
    found += [
        f"R² action ({name.removeprefix('r2_action.').removesuffix('_mean').replace('_', ' ')})"
        for name in _actions(facts)
    ]
    return [*found, "rank z_agg", "collapsed", "gate", SEARCHED, PARAMETERS, "device\N{NO-BREAK SPACE}s"]


def _actions(facts: Facts) -> list[str]:
    return [name for name in facts.table if name.startswith("r2_action.") and name.endswith("_mean")]


def _row(facts: Facts, row: pd.Series) -> list[str]:
    asked = facts.study.declared
    group, digits = group_of(asked), decimals(asked.metric.name)
    difference = interval(row["difference_mean"], row["difference_low"], row["difference_high"], digits)
    search = number(row["search_value"])
    cells = [
        row["arm"], plus_minus(row, group, digits), f"{row['n']}/{row['runs']}", _or_dash(row["epoch"]),
        difference if pd.notna(row["reference"]) else "-", verdict(row["verdict"]),
        *(plus_minus(row, name.removesuffix("_mean"), 2) for name in _actions(facts)),
        plus_minus(row, "rank_pr_z_agg"), _of(row["collapsed"], row["collapsed_judged"]),
        _of(row["gate_passed"], row["gate_judged"]),
        "-" if search == "-" else f"{search} → {number(row['linacc_z_agg_mean'])}",
        "-" if pd.isna(row["parameters"]) else f"{row['parameters']:,}", number(row["device_seconds"], 0),
    ]  # fmt: skip
    return cells


def _of(count: object, judged: int) -> str:
    return f"{count}/{judged}" if judged else "-"


def _or_dash(value: object) -> str:
    return "-" if pd.isna(value) else str(value)
