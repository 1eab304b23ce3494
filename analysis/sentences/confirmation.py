"""The search's best arms on fresh seeds: its scores beside the confirmed ones, and what became of its order.

The score by which an arm was chosen is too high by the choice itself: of many trials the luckiest lead. How the next
arms
stand to the best is exploratory: intervals, no verdict.
"""

from __future__ import annotations

import math

import pandas as pd

from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study
from analysis.rendering.render import interval, number
from analysis.statistics.differences import Key, compare_arms
from analysis.statistics.paired import mean_interval

_COLUMNS = [
    "arm", "role", "arm_id", "level", "place", "search_value", "search_epoch", "confirmed", "half", "n", "shrinkage",
    "difference", "low", "high",
]  # fmt: skip


def confirmation(study: Study) -> pd.DataFrame:
    """One row per searched arm of the levels of which more than the best was confirmed, in the search's order.

    ``shrinkage`` is the search score minus the confirmed mean, NaN where the search score is from an earlier epoch;
    ``difference`` is a candidate's paired difference to the best of its level.
    """
    labels = study.arms.names
    rows = [_row(study, key, labels[key]) for level in _levels(study) for key in _ranked(study, level)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def order_held(study: Study, table: pd.DataFrame) -> list[str]:
    """Per level, the search's scores beside those on fresh seeds, and the other arms minus the best.

    Args:
        table: the study's ``confirmation``.
    """
    said = []
    stratum = study.declared.stratum
    for level, rows in table.groupby("level", sort=False):
        within = f", {stratum} {level}" if stratum else ""
        short = [_short(row) for _, row in rows.iterrows()]
        scores = ", ".join(f"{name} {number(score)}" for name, score in zip(short, rows["search_value"], strict=True))
        means = ", ".join(f"{name} {number(mean)}" for name, mean in zip(short, rows["confirmed"], strict=True))
        text = f"Search and confirmation{within}: in the search {scores}; confirmed {means} percent."
        said.append(f"{text} {_shrinkage(rows)}".rstrip())
        against = [
            f"{name} {interval(row['difference'], row['low'], row['high'])}"
            for name, (_, row) in zip(short, rows.iterrows(), strict=True)
            if pd.notna(row["difference"])
        ]
        of_level = f" of {level}" if stratum else ""
        if against:
            said.append(
                f"On fresh seeds, each minus the best{of_level} (exploratory: unadjusted 95 % intervals, no verdict):"
                f" {', '.join(against)}."
            )
    return said


def _shrinkage(rows: pd.DataFrame) -> str:
    known = rows["shrinkage"].dropna()
    if known.empty:
        return ""
    mean, of = known.mean(), "" if len(known) == len(rows) else f" (the {len(known)} scored at the last epoch)"
    if mean > 0:
        return (
            f"The search scores were {number(mean)} points above the confirmed ones on average{of}, as scores that"
            " served a choice tend to be."
        )
    return (
        f"The search scores were {number(-mean)} points below the confirmed ones on average{of}: no sign of a lucky"
        " choice."
    )


def _short(row: pd.Series) -> str:
    """``best``, ``2nd``: what a sentence about one level needs of a name that ends in ``(2nd)``."""
    return "best" if row["role"] == "best" else row["arm"].rpartition("(")[2].partition(")")[0]


def _levels(study: Study) -> list[str]:
    found = dict.fromkeys(study.arms.level(key) for key in study.arms.ordered if key[1] == "candidate")
    return [level for level in found if level is not None]


def _ranked(study: Study, level: str) -> list[Key]:
    return [key for key in study.arms.ordered if key[1] in ("best", "candidate") and study.arms.level(key) == level]


def _row(study: Study, key: Key, name: str) -> dict[str, object]:
    rows = study.arms.rows[key]
    first, mean = rows.iloc[0], mean_interval(study.measured(LINACC, key))
    choice = next((one for one in study.chosen.get(study.arms.level(key), []) if one["arm_id"] == key[0]), {})
    score, epoch = first["search_value"], choice.get("epoch")
    whole = epoch is None or epoch == study.info.get("epochs")
    row = {"arm": name, "role": key[1], "arm_id": key[0], "level": study.arms.level(key), "place": first["place"]}
    row |= {"search_value": score, "search_epoch": epoch, "confirmed": mean.mean, "half": mean.half, "n": mean.n}
    row["shrinkage"] = score - mean.mean if whole else math.nan
    reference = study.arms.reference(key) if key[1] == "candidate" else None
    if reference is not None:
        against = compare_arms(study, LINACC, key, reference)
        low, high = against.interval()
        row |= {"difference": against.mean, "low": low, "high": high}
    return row
