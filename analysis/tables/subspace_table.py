"""The numbers of the subspace suite, run by run and arm by arm, beside raw pixels and the untrained encoder, and
overlaps beside what covariance alone would give."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.recorded.typed import typed
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, number
from analysis.statistics.paired import mean_interval
from trainer.errors import UsageError
from trainer.subspace.names import MetricName, metric_name, parse_metric_name

BASELINES = ("pixels", "untrained")
"""Codes that are no arm's own: every number is read against theirs."""
CODE = "z"
"""What the code without a name is called."""
COLUMNS = [
    "study", "arm", "role", "arm_id", "run_id", "seed", "epoch", "split", "measure", "factors", "code", "value",
    *BASELINES, "null_mean", "null_low", "null_high", "chance", "outside",
]  # fmt: skip
SHOWN = {
    "subspace_effrank": ("directions (effective rank)", 1),
    "subspace_ev.pooled.k2": ("share in 2 directions", 2),
    "subspace_ev.pooled.k4": ("share in 4 directions", 2),
    "parallelism": ("parallelism of paths", 2),
    "operator_r2.best": ("R2 of one linear operator", 2),
    "composition_error.weighted": ("error of composing operators", 2),
    "circle_score.h1": ("circle, first harmonic", 2),
    "winding.agree": ("anchors that wind alike", 2),
    "intraclass_correlation": ("variance between images", 2),
}
"""Measures of the readable table, with words and decimals; CSV and frames hold all of them."""
_EVERY_FACTOR = "subspace_effrank"
"""A measure that each swept factor has: it tells which names are factors."""
_OVERLAP, _CHANCE, _NULL = "overlap", "overlap_chance", "overlap_matched"
_NOTE = (
    "Mean and half of the 95 % t interval over runs (no interval below 3), at the last epoch that was swept;"
    " exploratory, in no test. Codes: z of one view, z_agg@k the aggregate of k views. No share is meaningful by"
    " itself: read it against pixels and the untrained encoder, measured on the same pictures."
)
_OVERLAP_NOTE = (
    "Overlap of the subspaces of two factors: 0 orthogonal, 1 contained. Null: random subspaces with the codes' own"
    " covariance, its 95 % interval (mean over runs); chance: without any covariance. Outside: runs beyond their null."
)


def subspace_numbers(frames: Frames) -> pd.DataFrame:
    """One row per compared run, measure, factors and code, at the run's last swept epoch.

    ``pixels`` and ``untrained`` are the same measure of the baselines; an overlap has its covariance-matched null (mean
    and 95 % interval), isotropic ``chance``, and whether it lies ``outside`` the null's interval.
    """
    rows: list[dict[str, Any]] = []
    metrics = _metrics(frames.epochs)
    swept = [name for name, parsed in metrics.items() if parsed.metric == _EVERY_FACTOR]
    epochs = frames.epochs[frames.epochs[swept].notna().any(axis=1) & frames.epochs["split"].ne("test")]
    for study, name in frames.named():
        last = (
            epochs[epochs["study"] == name].sort_values("epoch", kind="stable").drop_duplicates("run_id", keep="last")
        )
        of_run = {row["run_id"]: row for row in last.to_dict("records")}
        for key in study.arms.ordered:
            who = {"study": name, "arm": study.arms.names[key], "role": key[1], "arm_id": key[0]}
            for seed, run_id in study.arms.runs[key].items():
                if key[1] != "untrained" and run_id in of_run:
                    at = of_run[run_id]
                    run = who | {"run_id": run_id, "seed": seed, "epoch": at["epoch"], "split": at["split"]}
                    rows += (run | row for row in _of_run(at, metrics))
    numbers = ("value", *BASELINES, "null_mean", "null_low", "null_high", "chance")
    return typed(rows, COLUMNS, number=numbers, whole=("seed", "epoch"), truth=("outside",), text=True)


def subspace_sheets(found: pd.DataFrame) -> list[Sheet]:
    """The measures of ``SHOWN`` and the overlaps, per arm, of the rows of one study."""
    measures = found[found["measure"].isin(SHOWN)]
    overlaps = found[found["measure"].str.startswith(f"{_OVERLAP}.")]
    return [*([_measures(measures)] if len(measures) else []), *([_overlaps(overlaps)] if len(overlaps) else [])]


def subspace_absent(study: Study, found: pd.DataFrame) -> list[str]:
    """What the table of a study lacks, in sentences."""
    runs = {run_id for key in study.arms.ordered if key[1] != "untrained" for run_id in study.arms.runs[key].values()}
    if not runs:
        return ["No run was compared yet, so no subspace was measured."]
    left = len(runs - set(found["run_id"]))
    how = "python -m trainer.evaluate --subspace measures a run; eval.subspace.epochs does so while it is trained"
    said = [f"No subspace diagnostics: {left} of {len(runs)} compared runs ({how})."] if left else []
    if len(found) and not found["measure"].str.startswith(f"{_OVERLAP}.").any():
        said.append("No overlap: it compares two factors, and one was swept.")
    return said


def _metrics(epochs: pd.DataFrame) -> dict[str, MetricName]:
    """The columns that the suite wrote, by the factors that it swept."""
    parsed = {}
    for name in epochs:
        try:
            parsed[name] = parse_metric_name(name)
        except UsageError:
            continue
    factors = {one.factors[0] for one in parsed.values() if one.metric == _EVERY_FACTOR}
    return {name: one for name, one in parsed.items() if set(one.factors) <= factors}


def _of_run(at: dict[str, Any], metrics: dict[str, MetricName]) -> list[dict[str, Any]]:
    rows = []
    for name, one in metrics.items():
        if pd.isna(at[name]) or one.code in BASELINES or one.metric.startswith((f"{_NULL}.", f"{_CHANCE}.")):
            continue
        row: dict[str, Any] = {"measure": one.metric, "factors": "+".join(one.factors), "code": one.code or CODE}
        row |= {"value": at[name]}
        row |= {base: at.get(metric_name(one.metric, *one.factors, code=base)) for base in BASELINES}
        stem, _, width = one.metric.partition(".")
        if stem == _OVERLAP:

            def beside(metric: str, one: MetricName = one) -> Any:
                return at.get(metric_name(metric, *one.factors, code=one.code))

            row |= {f"null_{part}": beside(f"{_NULL}.{part}.{width}") for part in ("mean", "low", "high")}
            row["chance"] = beside(f"{_CHANCE}.{width}")
            if pd.notna(row["null_low"]) and pd.notna(row["null_high"]):
                row["outside"] = not row["null_low"] <= at[name] <= row["null_high"]
        rows.append(row)
    return rows


def _measures(found: pd.DataFrame) -> Sheet:
    codes = list(dict.fromkeys(found["code"]))
    rows = []
    for (arm, factor), of_arm in found.groupby(["arm", "factors"], sort=False):
        for measure, (words, digits) in SHOWN.items():
            lines = of_arm[of_arm["measure"] == measure]
            if lines.empty:
                continue
            cells = [_mean(lines.loc[lines["code"] == code, "value"], digits) for code in codes]
            first = lines.drop_duplicates("run_id")  # a baseline is the same beside every code
            cells += [_mean(first[base], digits) for base in BASELINES]
            rows.append([arm, factor, words, *cells, str(len(first))])
    columns = ["arm", "factor", "measure", *codes, *BASELINES, "n"]
    return Sheet(f"{found['study'].iloc[0]}: subspaces of factors", columns, rows, 3, notes=(_NOTE,))


def _overlaps(found: pd.DataFrame) -> Sheet:
    rows = []
    for (arm, pair, code), lines in found.groupby(["arm", "factors", "code"], sort=False):
        null = [lines[f"null_{part}"].mean() for part in ("low", "high")]
        judged = lines["outside"].dropna()
        rows.append(
            [
                arm, pair.replace("+", " and "), code, _mean(lines["value"], 2), _mean(lines["untrained"], 2),
                EMPTY if pd.isna(null[0]) else f"{null[0]:.2f} to {null[1]:.2f}", _mean(lines["chance"], 2, False),
                f"{int(judged.sum())}/{len(judged)}" if len(judged) else EMPTY,
            ]
        )  # fmt: skip
    columns = ["arm", "factors", "code", "overlap", "untrained", "null, 95 %", "chance", "outside"]
    return Sheet(f"{found['study'].iloc[0]}: overlap of subspaces", columns, rows, 3, notes=(_OVERLAP_NOTE,))


def _mean(column: pd.Series, digits: int, spread: bool = True) -> str:
    mean = mean_interval(column.tolist())
    text = number(mean.mean, digits)
    return f"{text} ± {number(mean.half, digits)}" if spread and pd.notna(mean.half) else text
