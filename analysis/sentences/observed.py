"""Differences between single runs that others recorded, and why they are no result."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.columns import FOREIGN
from analysis.frames.read import Frames
from analysis.ingest.reference import BETWEEN
from analysis.rendering.decimals import decimals
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, number
from analysis.statistics.paired import MIN_SEEDS, paired

COLUMNS = ("claim", "arm", "reference", "metric", "arm_value", "reference_value", "difference", "epoch", "n", "verdict",
           "differs_in", "caveat", "source")  # fmt: skip
_NOTE = (
    f"Each difference is between single runs, and {MIN_SEEDS} seeds are the least for a verdict. Whatever else the two"
    " differ in explains a difference as well as what is claimed."
)


def claims(frames: Frames, path: Path) -> pd.DataFrame:
    """One row per claim of a file (claim, arm, reference, metric, source) about runs in ``frames``.

    ``differs_in`` lists every setting on record in which the two runs differ, ``caveat`` what their sources say
    against the two values. Values are those of the last epoch at which both have the metric; a missing run gives NaN
    and n=0.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [_row(frames, claim) for claim in csv.DictReader(file)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"epoch": "Int64", "n": "Int64"})


def claims_sheet(table: pd.DataFrame) -> Sheet:
    """The same as cells."""
    columns = ["claim", "the two differ in", "caveats", "difference", "n", "verdict"]
    rows = []
    for _, row in table.iterrows():
        digits = decimals(row["metric"]) if "linacc" not in row["metric"] else 2
        difference = number(row["difference"], digits, sign=True)
        rows.append(
            [
                row["claim"],
                row["differs_in"] or EMPTY,
                row["caveat"] or EMPTY,
                difference,
                str(row["n"]),
                row["verdict"],
            ]
        )
    return Sheet("What the log concluded, and what its runs allow", columns, rows, 3, notes=(_NOTE,))


def _row(frames: Frames, claim: dict[str, str]) -> dict[str, Any]:
    epochs = frames.epochs[frames.epochs["origin"].isin(FOREIGN)]
    values = {side: _values(epochs, claim[side], claim["metric"]) for side in ("arm", "reference")}
    common = [epoch for epoch in values["arm"] if epoch in values["reference"]]
    at = max(common, default=None)
    mine, other = (values[side].get(at) for side in ("arm", "reference"))
    one = paired({0: mine}, {0: other})
    known = [part for side in ("reference", "arm") for part in _caveats(epochs, claim[side], claim["metric"], at)]
    return {
        **claim, "arm_value": mine, "reference_value": other, "difference": one.mean, "epoch": at, "n": one.n,
        "verdict": f"no verdict: n={one.n}", "differs_in": "; ".join(_differing(frames, claim)),
        "caveat": "; ".join(dict.fromkeys(known)),
    }  # fmt: skip


def _values(epochs: pd.DataFrame, run_id: str, metric: str) -> dict[int, float]:
    """By epoch, where one value is on record."""
    if metric not in epochs:
        return {}
    of_run = epochs[(epochs["run_id"] == run_id) & ~epochs["conflict"].astype(bool)].dropna(subset=["epoch", metric])
    return dict(zip(of_run["epoch"].astype(int), of_run[metric], strict=True))


def _caveats(epochs: pd.DataFrame, run_id: str, metric: str, epoch: int | None) -> list[str]:
    """What is said against a run's value of a metric."""
    if epoch is None or metric not in epochs:
        return []
    rows = epochs[(epochs["run_id"] == run_id) & (epochs["epoch"] == epoch) & epochs[metric].notna()]
    of_metrics = [text for caveat in rows["caveat"].dropna() for text in caveat.split(BETWEEN)]
    return [
        part for text in of_metrics if text.startswith(f"{metric}: ") for part in text[len(metric) + 2 :].split("; ")
    ]


def _differing(frames: Frames, claim: dict[str, str]) -> list[str]:
    """Settings on record in which two runs differ: ``name: one / other``."""
    arms = frames.arms[frames.arms["origin"].isin(FOREIGN)].drop_duplicates("arm_id").set_index("arm_id")
    of = frames.runs.drop_duplicates("run_id").set_index("run_id")["arm_id"]
    if any(of.get(claim[side]) not in arms.index for side in ("arm", "reference")):
        return []
    one, other = (arms.loc[of[claim[side]]] for side in ("arm", "reference"))
    found = []
    for name in [name for name in arms if name.startswith("config.")]:
        a, b = one[name], other[name]
        if (pd.isna(a) != pd.isna(b)) or (pd.notna(a) and a != b):
            found.append(f"{name.removeprefix('config.')}: {_shown(a)} / {_shown(b)}")
    return found


def _shown(value: Any) -> str:
    return EMPTY if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
