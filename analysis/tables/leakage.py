"""What a view alone knows beside what the aggregate knows, in every arm: leakage, with the controls that explain it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.columns import EVALUATION
from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.recorded.typed import typed
from analysis.rendering.decimals import decimals
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, number
from analysis.statistics.differences import Key
from analysis.statistics.paired import mean_interval

VIEW = {"linear accuracy": "linacc/z_1@1", "R2 of the pose": "r2_pose/z_1@1"}
"""What one view's own code knows, by what is read from it."""
WHOLES = {
    "linear accuracy": {
        "z_agg": "linacc/z_agg@M",
        "mean z": "linacc/z_mean@M",
        "z_agg of 1 view": "linacc/z_agg@1",
        "z_agg without actions": "linacc/z_agg_no_actions@M",
    },
    "R2 of the pose": {
        "z_agg": "r2_pose/z_agg@M",
        "mean z": "r2_pose/z_mean@M",
        "z_agg without actions": "r2_pose/z_agg_no_actions@M",
    },
}
"""What is set against it: the aggregate, and its controls."""
COLUMNS = [
    "study", "arm", "role", "kind", "arm_id", "what", "whole", "whole_metric", "part_metric", "whole_mean", "part_mean",
    "gap", "low", "high", "n", "planned",
]  # fmt: skip
_NOTE = (
    "Means and half of the 95 % t interval, of differences within each run; no interval below 3. Read an arm against"
    " the controls, and the aggregate against the plain mean of the same views: what the mean gains as well is not the"
    " aggregator's. What training did not probe is read from evaluations on validation that measured as it did."
)


def gap_numbers(frames: Frames) -> pd.DataFrame:
    """One row per compared arm and gap that any run has, in full precision.

    ``gap`` is the mean over the n runs that have both metrics of the whole minus that of one view (``z_1``), with its
    95 % interval; ``kind`` says what the arm is, ``control`` among them.
    """
    rows: list[dict[str, Any]] = []
    for study, name in frames.named():
        evaluated = _evaluations(frames, name)
        rows += ({"study": name} | row for key in study.arms.ordered for row in _of_arm(study, key, evaluated))
    numbers = ("whole_mean", "part_mean", "gap", "low", "high")
    return typed(rows, COLUMNS, number=numbers, whole=("n", "planned"), text=True)


def gap_sheets(found: pd.DataFrame) -> list[Sheet]:
    """A table for what is read from the codes, each: one view's value, and the gaps to it, of the rows of one study."""
    sheets = [_sheet(of_what, what) for what, of_what in found.groupby("what", sort=False)]
    return [*sheets[:-1], *(replace(last, notes=(_NOTE,)) for last in sheets[-1:])]


def gaps_absent(study: Study, found: pd.DataFrame) -> list[str]:
    """What the table of a study lacks, in sentences."""
    if not study.arms.ordered:
        return ["No run was compared yet, so there are no gaps."]
    said = [f"{what}: no run has it at its last epoch." for what in WHOLES if what not in set(found["what"])]
    few = sorted({f"{row['arm']} {row['n']}/{row['planned']}" for _, row in found.iterrows() if _fewer(row)})
    return [*said, *([f"Runs with both numbers, where not all: {', '.join(few)}."] if few else [])]


def _fewer(row: pd.Series) -> bool:
    return row["n"] < row["planned"]


def _evaluations(frames: Frames, name: str) -> dict[str, dict[str, Any]]:
    """The latest evaluation of each run on validation images, measured as the run itself was, by run_id."""
    epochs = frames.epochs
    chosen = epochs["study"].eq(name) & epochs["origin"].eq(EVALUATION) & epochs["split"].eq("validation")
    chosen &= epochs["caveat"].isna()
    columns = [column for column in (*VIEW.values(), *_columns(epochs)) if column in epochs]
    found: dict[str, dict[str, Any]] = {}
    for row in epochs.loc[chosen, ["run_id", "epoch", *columns]].sort_values("epoch").to_dict("records"):
        of_run = found.setdefault(row["run_id"], {})
        of_run |= {column: row[column] for column in columns if pd.notna(row[column])}
    return found


def _columns(epochs: pd.DataFrame) -> list[str]:
    stems = {metric.removesuffix("M") for of in WHOLES.values() for metric in of.values()}
    return [column for column in epochs if column.rstrip("0123456789") in stems or column in stems]


def _of_arm(study: Study, key: Key, evaluated: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    who = {"arm": study.arms.names[key], "role": key[1], "kind": study.declared.kind(key[1]), "arm_id": key[0]}
    who["planned"] = len(study.arms.runs[key])
    rows = []
    for what, wholes in WHOLES.items():
        part = _values(study, key, VIEW[what], evaluated)
        for label, metric in wholes.items():
            whole = _values(study, key, metric, evaluated)
            gap = mean_interval((whole - part).tolist())
            if not gap.n:
                continue
            both = ~np.isnan(whole - part)
            row = {"what": what, "whole": label, "whole_metric": metric, "part_metric": VIEW[what]}
            row |= {"whole_mean": whole[both].mean(), "part_mean": part[both].mean(), "gap": gap.mean, "n": gap.n}
            rows.append(who | row | {"low": gap.mean - gap.half, "high": gap.mean + gap.half})
    return rows


def _values(study: Study, key: Key, metric: str, evaluated: dict[str, dict[str, Any]]) -> np.ndarray:
    """A metric of an arm's runs; where its record has none, the evaluation's."""
    found = study.measured(metric, key).astype(float)
    if key[1] == "untrained":  # its runs are those of a trained arm at epoch 0, and their evaluations are of the end
        return found
    for place, run_id in enumerate(study.arms.runs[key].values()):
        run = study.runs.get(run_id)
        if np.isnan(found[place]) and run is not None and run_id in evaluated:
            own = f"{metric.removesuffix('M')}{run.views}" if metric.endswith("@M") else metric
            found[place] = evaluated[run_id].get(own, np.nan)
    return found


def _sheet(found: pd.DataFrame, what: str) -> Sheet:
    digits = decimals(found["part_metric"].iloc[0])
    wholes = [label for label in WHOLES[what] if label in set(found["whole"])]
    rows = []
    for arm, of_arm in found.groupby("arm", sort=False):
        first = of_arm.iloc[0]
        few = {row["whole"]: f" (n={row['n']})" for _, row in of_arm.iterrows() if row["n"] != first["n"]}
        cells = {row["whole"]: _gap(row, digits) + few.get(row["whole"], "") for _, row in of_arm.iterrows()}
        rows.append(
            [arm, number(first["part_mean"], digits), *(cells.get(label, EMPTY) for label in wholes), str(first["n"])]
        )
    columns = ["arm", "z_1", *(f"{label} - z_1" for label in wholes), "n"]
    return Sheet(f"{found['study'].iloc[0]}: leakage gaps, {what}", columns, rows)


def _gap(row: pd.Series, digits: int) -> str:
    text, half = number(row["gap"], digits, sign=True), row["high"] - row["gap"]
    return text if pd.isna(half) else f"{text} ± {number(half, digits)}"
