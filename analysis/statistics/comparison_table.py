"""The comparison table: one row per compared arm, every number in full precision."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from analysis.recorded.declared import LINACC, Declared, Metric
from analysis.recorded.study import Study
from analysis.statistics.cost import Cost, cost, per_arm
from analysis.statistics.differences import NOT_COMPARED, REFERENCE, Key, differences
from analysis.statistics.paired import mean_interval

METRICS = {
    "linacc_z_agg": LINACC,
    "linacc_z_1": "linacc/z_1@1",
    "linacc_z_mean": "linacc/z_mean@M",
    "rank_pr_z": "rank_pr/z@M",
    "rank_pr_z_agg": "rank_pr/z_agg@M",
    "predict_z_hat": "predict/z_hat@M",
}
"""Columns of the table (each as _mean, _half, _n) and the metric behind them."""
IN_CONTRASTS = "in contrasts"
"""Of an arm that is compared with several others, none of them its reference."""
_ACTION = re.compile(r"r2_action\.(.+)/z_pair@2")


def comparison_table(study: Study, spent: Cost | None = None) -> pd.DataFrame:
    """One row per compared arm: best arms first, then references, controls, untrained, candidates, fixed arms.

    Columns: who (study, arm: a short name, label, role, the shown settings, arm_id, seeds, run_ids, commits, dirty,
    views M, epoch, parameters trained and in which parts); how many (planned runs, n complete ones with a linear
    accuracy); per metric ``_mean``, ``_half`` (of the 95 % t interval) and ``_n``, accuracies in percent;
    ``r2_action.<scaling>`` with the ``_epoch`` of the probe, one group of columns per action scaling;
    ``difference_...`` to the reference in the study's metric, unadjusted and, for a primary contrast, as its family
    decides (see ``differences``); ``verdict``; gate and collapse counts; ``device_seconds`` and ``usd`` of its runs
    (NaN where unknown); and the ``search_value`` by which the arm was chosen, which is too high by selection
    wherever it is not confirmed, with its ``place`` among its level's.

    Args:
        study: the study.
        spent: its ``cost.cost``, where that is at hand.
    """
    found = differences(study)
    keys = study.arms.ordered
    paid = per_arm(study, spent or cost(study))
    referred = set(zip(found["reference_arm_id"], found["reference_role"], strict=True))
    lines: dict[Key, dict[Key, dict[str, Any]]] = {key: {} for key in keys}
    for line in found[found["metric"] == study.declared.metric.name.removesuffix("@M")].to_dict("records"):
        lines[line["arm_id"], line["role"]][line["reference_arm_id"], line["reference_role"]] = line
    scalings = _scalings(study)
    rows = []
    for key in keys:
        row = _who(study, key) | _numbers(study, key, scalings) | paid[key]
        line = _line(lines[key], study.arms.reference(key))
        if line is None:
            row |= {"reference": None, "reference_arm_id": None}
            row["verdict"] = REFERENCE if key in referred else IN_CONTRASTS if lines[key] else NOT_COMPARED
        else:
            row |= {name: line[name] for name in ("reference", "reference_arm_id", "verdict")}
            row |= {f"difference_{name}": line[name] for name in _DIFFERENCE}
        rows.append(row)
    return _typed(pd.DataFrame(rows, columns=_columns(study.declared, scalings)), study.declared, scalings)


def _line(lines: dict[Key, dict[str, Any]], reference: Key | None) -> dict[str, Any] | None:
    """What an arm's row shows: its comparison with its reference; without one the only it has, a declared one first."""
    if reference is not None:
        return lines[reference]
    shown = [line for line in lines.values() if line["primary"]] or list(lines.values())
    return shown[0] if len(shown) == 1 else None


_DIFFERENCE = (
    "mean", "low", "high", "n", "dropped", "p", "p_holm", "level", "adjusted_low", "adjusted_high", "resolvable",
    "resolvable_with_power",
    "seeds_needed",
)  # fmt: skip
_WHO, _HOW_MANY = ["study", "arm", "role"], ["runs", "n", "epoch", "views", "parameters"]
_TEXT = ["parameter_parts", "label", "arm_id", "seeds", "run_ids", "commits"]
_COUNTS = ["gate_passed", "gate_judged", "collapsed", "collapsed_judged"]
_COST = ["device_seconds", "usd"]


def metrics_of(asked: Declared) -> dict[str, str]:
    """Columns of a study's table and the metric behind them: those of every study, and those that this one declares."""
    found = dict(METRICS)
    for own in (asked.metric.name, *(one.name for one in asked.also)):
        if own not in found.values() and not own.startswith("r2_action"):
            found[re.sub(r"\W", "_", own.removesuffix("@M"))] = own
    return found


def groups_beside(table: pd.DataFrame, asked: Declared) -> dict[str, Metric]:
    """The groups of columns of the metrics that are shown beside the study's own; of ``r2_action`` each scaling's."""
    found: dict[str, Metric] = {}
    for one in asked.also:
        if one.name == "r2_action":
            scaled = [name.removesuffix("_mean") for name in table if re.fullmatch(r"r2_action\..+_mean", name)]
            found |= dict.fromkeys(scaled, one)
        else:
            found[group_of(asked, one)] = one
    return {group: one for group, one in found.items() if group != group_of(asked)}


def group_of(asked: Declared, metric: Metric | None = None) -> str:
    """The group of columns that a declared metric is in; default: the study's own."""
    own = (metric or asked.metric).name
    action = _ACTION.fullmatch(own)
    return (
        f"r2_action.{action[1]}"
        if action
        else next(name for name, metric in metrics_of(asked).items() if metric == own)
    )


def _columns(asked: Declared, scalings: list[str]) -> list[str]:
    numbers = [f"{group}_{part}" for group in _groups(asked, scalings) for part in ("mean", "half", "n")]
    epochs = [f"r2_action.{scaling}_epoch" for scaling in scalings]
    against = ["reference", *(f"difference_{name}" for name in _DIFFERENCE), "verdict"]
    return [
        *_WHO,
        *(column.name for column in asked.columns),
        *_HOW_MANY,
        *numbers,
        *epochs,
        *against,
        *_COUNTS,
        *_COST,
        "search_value",
        "place",
        *_TEXT,
        "dirty",
        "reference_arm_id",
    ]


def _groups(asked: Declared, scalings: list[str]) -> list[str]:
    return [*metrics_of(asked), "agg_minus_mean", *(f"r2_action.{scaling}" for scaling in scalings)]


def _typed(table: pd.DataFrame, asked: Declared, scalings: list[str]) -> pd.DataFrame:
    """Stable types, also where a column is empty, so that files of different studies can be joined."""
    groups = _groups(asked, scalings)
    whole = [
        "runs",
        "n",
        "place",
        "epoch",
        "views",
        "parameters",
        *_COUNTS,
        "difference_n",
        "difference_dropped",
        "difference_seeds_needed",
    ]
    whole += [*(f"{group}_n" for group in groups), *(f"r2_action.{scaling}_epoch" for scaling in scalings)]
    numbers = ["search_value", *_COST, *(column.name for column in asked.columns if column.number)]
    numbers += [f"{group}_{part}" for group in groups for part in ("mean", "half")]
    numbers += [name for part in _DIFFERENCE if (name := f"difference_{part}") not in whole]
    text = [
        *_WHO,
        *(column.name for column in asked.columns if not column.number),
        "reference",
        "verdict",
        "reference_arm_id",
        *_TEXT,
    ]
    types = {"Int64": whole, "float64": numbers, "string": text, "boolean": ["dirty"]}
    return table.astype({name: kind for kind, columns in types.items() for name in columns})


def _scalings(study: Study) -> list[str]:
    return sorted({match[1] for name in study.finals.columns if (match := _ACTION.fullmatch(name))})


def _who(study: Study, key: Key) -> dict[str, Any]:
    first, runs = study.arms.first[key], study.arms.runs[key]
    done = study.finals["complete"].to_numpy()[study.arms.positions[key]]
    commits = {commit for commit in _of_arm(study, "commit", key) if pd.notna(commit)}
    dirty, gates, collapsed = (_known(_of_arm(study, name, key)) for name in ("dirty", "gate_passed", "collapsed"))
    return {
        "study": study.name, "arm": study.arms.names[key], "label": first["label"], "role": key[1],
        **{column.name: first[column.name] for column in study.declared.columns}, "arm_id": key[0], "runs": len(runs),
        "epoch": _common(study.measured("epoch", key)[done]),
        "views": _common(study.measured("views", key)[done]), "parameters": _common(study.measured("parameters", key)),
        "parameter_parts": next((parts for parts in _of_arm(study, "parameter_parts", key) if pd.notna(parts)), None),
        "seeds": " ".join(map(str, runs)),
        "run_ids": " ".join(runs.values()),
        "commits": " ".join(sorted(commits)), "dirty": any(dirty) if dirty else None,
        "search_value": first["search_value"], "place": first["place"],
        "gate_passed": sum(gates), "gate_judged": len(gates), "collapsed": sum(collapsed),
        "collapsed_judged": len(collapsed),
    }  # fmt: skip


def _of_arm(study: Study, column: str, key: Key) -> list[Any]:
    return study.finals[column].array.take(study.arms.positions[key]).tolist()


def _known(given: list[Any]) -> list[bool]:
    return [bool(value) for value in given if pd.notna(value)]


def _numbers(study: Study, key: Key, scalings: list[str]) -> dict[str, Any]:
    """Metrics over the complete runs of one arm, ``_n`` being the runs that have the metric."""
    columns = {name: study.measured(metric, key) for name, metric in metrics_of(study.declared).items()}
    columns["agg_minus_mean"] = columns["linacc_z_agg"] - columns["linacc_z_mean"]
    found: dict[str, Any] = {}
    for scaling in scalings:
        of_scaling = study.measured(f"r2_action.{scaling}/z_pair@2", key)
        columns[f"r2_action.{scaling}"] = of_scaling
        found[f"r2_action.{scaling}_epoch"] = _common(study.measured("probe_epoch", key)[~np.isnan(of_scaling)])
    for name, column in columns.items():
        mean = mean_interval(column.tolist())
        found |= {f"{name}_mean": mean.mean, f"{name}_half": mean.half, f"{name}_n": mean.n}
    return found | {"n": found["linacc_z_agg_n"]}


def _common(column: np.ndarray) -> int | None:
    """The value that all runs share, or None if there is none or they differ."""
    given = set(column[~np.isnan(column)].tolist())
    return int(given.pop()) if len(given) == 1 else None
