"""Rows of a study: the numbers are those of its report, under the frames' names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from analysis.frames.build import flat
from analysis.frames.columns import STUDY
from analysis.frames.of_run import NOT_SCIENCE, data_sets, epoch_rows, evaluation_rows, run_row
from analysis.recorded.study import Study
from analysis.statistics.comparison_table import comparison_table, group_of
from analysis.statistics.cost import Cost, cost
from analysis.statistics.differences import RANKS, differences, resolve

NOT_RUN = "not run"
"""Verdict of a declared contrast whose arms have not been compared."""
_RENAMED = {"source": "sampler", "stop_reason": "reason", "from": "taken_from"}
_ARM = (
    "arm_id", "role", "arm", "label", "reference", "epoch", "search_value", "place", "dirty", "device_seconds", "usd",
    "gate_passed", "gate_judged", "collapsed", "collapsed_judged", "parameters",
)  # fmt: skip
_TRIAL = ("trial", "name", "run_id", "arm_id", "label", "state", "epoch", "value")


def rows_of_study(study: Study, name: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by frame.

    Args:
        name: what the study is called beside others.
    """
    spent = cost(study)
    found = {
        "runs": _runs(study, spent), "trials": _trials(study), "arms": _arms(study, spent),
        "contrasts": _contrasts(study), "epochs": _epochs(study, name),
    }  # fmt: skip
    found["studies"] = [_study(study, spent, found["runs"])]
    for rows in found.values():
        for row in rows:
            row["study"] = name
    return found


def _study(study: Study, spent: Cost, runs: list[dict[str, Any]]) -> dict[str, Any]:
    info, asked = study.info, study.declared
    row: dict[str, Any] = {"question": asked.question, "folder": str(study.folder), "preset": info.get("preset")}
    row |= {"state": state(study), "created": _time(info.get("created")), "updated": updated(study)}
    row |= {
        "metric": asked.metric.name,
        "measures": asked.metric.words,
        "unit": asked.metric.unit,
        "higher": asked.metric.higher,
    }
    row |= {"stratum": asked.stratum, "epochs": info.get("epochs"), "search_seed": info.get("search_seed")}
    row |= {"seeds": " ".join(map(str, info.get("seeds") or [])), "planned": info.get("num_trials")}
    row |= {"trials": len(study.search), "runs": len(study.runs), "contrasts": len(asked.contrasts)}
    row |= {"seconds": spent.wall_seconds if spent.known else None, "usd": spent.usd}
    recorded = [one for one in runs if one["run_id"] in study.runs]
    for column in ("dataset", "split_hash", "device", "commit"):
        known = {part for one in recorded if one.get(column) for part in str(one[column]).split("+")}
        row[column] = "+".join(sorted(known)) or None
    row["dataset"] = row["dataset"] or data_sets(info.get("base") or {})
    dirty = [one["dirty"] for one in recorded if one.get("dirty") is not None]
    return row | {"dirty": any(dirty) if dirty else None}


def state(study: Study) -> str:
    """How far a study is; records cannot tell one that runs from one that was killed."""
    ends = [line for line in study.decisions if line["event"] in ("begin", "session")]
    if not study.decisions:
        return "not started"
    if not ends:  # written before sessions were noted
        return "finished" if len(study.finals) and study.finals["complete"].all() else "unfinished"
    if ends[-1]["event"] == "begin":
        return "unfinished"
    return "finished" if ends[-1].get("finished") else "interrupted"


def updated(study: Study) -> datetime | None:
    """When the last decision was noted."""
    begun, latest = None, 0.0
    for line in study.decisions:
        if line["event"] == "begin" and "at" in line:
            begun, latest = _time(line["at"]), 0.0
        latest = max(latest, line.get("t") or 0.0)
    return begun + timedelta(seconds=latest) if begun else None


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _runs(study: Study, spent: Cost) -> list[dict[str, Any]]:
    """Every run once: of the comparison, of the search, then what is on record beside them."""
    costs = spent.runs.set_index("name")[["held_seconds", "usd", "state"]].to_dict("index")
    short, rows = study.arms.names, {}
    for key in sorted(study.arms.ordered, key=lambda key: key[1] == "untrained"):  # one reads another arm's epoch 0
        for at in study.arms.positions[key]:
            end = study.finals.iloc[at]
            row = rows.setdefault(end["run_id"], {})
            row["role"] = f"{row['role']} {key[1]}" if row else key[1]
            if len(row) > 1:
                continue
            row |= _ended(study, end["run_id"], costs.get(end["run_id"], {}))
            row |= {"arm_id": key[0], "arm": short[key], "seed": int(end["seed"]), "phase": "verdict"}
            if key[1] != "untrained":
                row |= {"complete": bool(end["complete"]), "reason": end["problem"]}
            elif end["run_id"] in study.runs:
                row |= {"complete": bool(end["complete"])}
    for trial in study.search.to_dict("records"):
        run_id, name = trial["run_id"], trial["name"]
        if run_id not in rows and pd.notna(run_id):
            ended = _ended(study, run_id, costs.get(name, {}))
            rows[run_id] = {"arm_id": trial["arm_id"], "arm": trial["label"], "phase": "search"} | ended
            rows[run_id] |= {"state": trial["state"]}
            rows[run_id] |= {"reason": trial["stop_reason"]} if trial["stop_reason"] else {}
    for run_id, (phase, label) in study.beside.items():
        if run_id not in rows:
            rows[run_id] = {"phase": phase, "arm": label} | _ended(study, run_id, costs.get(run_id, {}))
    for run_id in study.runs:
        if run_id not in rows:
            rows[run_id] = _ended(study, run_id, costs.get(run_id, {}))
    for run_id, row in rows.items():
        row |= {"run_id": run_id, "preset": study.info.get("preset"), "origin": STUDY}
        row["source"] = str(_record(study, run_id))
    return list(rows.values())


def _ended(study: Study, run_id: str, paid: dict[str, Any]) -> dict[str, Any]:
    row = run_row(study.runs.get(run_id))
    if paid:
        row |= {"seconds": paid["held_seconds"], "usd": paid["usd"]}
        if paid["state"] not in ("unfinished", "complete"):
            row["state"] = paid["state"]
    return row


def _record(study: Study, run_id: str) -> Any:
    return study.folder / "runs" / run_id / "records.jsonl"


def _epochs(study: Study, name: str) -> list[dict[str, Any]]:
    declared = (study.declared.metric.name, *(one.metric for one in study.declared.contrasts))
    resolved = [metric for metric in dict.fromkeys(declared) if metric.endswith("@M")]
    rows: list[dict[str, Any]] = []
    for run_id, run in study.runs.items():
        path = _record(study, run_id)
        rows += epoch_rows(run, name, run_id, path, resolved, STUDY)
        if (evaluated := path.with_name("evaluation.jsonl")).is_file():
            rows += evaluation_rows(evaluated, name)
    return rows


def _trials(study: Study) -> list[dict[str, Any]]:
    rows = []
    warm = study.warm.assign(trial=range(-1, -len(study.warm) - 1, -1))
    for trial in [*study.search.to_dict("records"), *warm.to_dict("records")]:
        row = {"stratum": study.declared.level(trial) or None}
        for name, value in trial.items():
            if name in _TRIAL or name.startswith("objective."):
                row[name] = value
            else:
                row[_RENAMED.get(name, f"param.{name}")] = value
        rows.append(row)
    return rows


def _arms(study: Study, spent: Cost) -> list[dict[str, Any]]:
    rows = []
    metric, own = study.declared.metric.name, group_of(study.declared)
    for line in comparison_table(study, spent).to_dict("records"):
        key = (line["arm_id"], line["role"])
        row = {name: line[name] for name in _ARM}
        row |= {"stratum": study.arms.level(key) or None, "planned": line["runs"], "metric": metric, "origin": STUDY}
        row["commit"] = str(line["commits"]).replace(" ", "+") or None
        for group in [name.removesuffix("_half") for name in line if name.endswith("_half")]:
            mean, half = line[f"{group}_mean"], line[f"{group}_half"]
            numbers = {"mean": mean, "low": mean - half, "high": mean + half, "n": line[f"{group}_n"]}
            row |= {f"{group}_{part}": value for part, value in numbers.items()}
            row |= numbers if group == own else {}
        run = next((study.runs[run_id] for run_id in study.arms.runs[key].values() if run_id in study.runs), None)
        rows.append(row | (flat(run.config, without=NOT_SCIENCE) if run else {}))
    return rows


def _contrasts(study: Study) -> list[dict[str, Any]]:
    asked = study.declared
    units = {asked.metric.name: asked.metric.unit} | {one.metric: one.unit for one in asked.contrasts}
    full = {name.removesuffix("@M"): name for name in (*RANKS, *units)}
    rows = []
    for line in differences(study).to_dict("records"):
        row = {name: value for name, value in line.items() if name not in ("question", "p_holm")}
        question = line["question"] if isinstance(line["question"], str) else None
        row |= {"contrast": question or f"{line['arm']} minus {line['reference']}", "p_adjusted": line["p_holm"]}
        row["metric"] = full.get(line["metric"], line["metric"])
        rows.append(row | {"unit": units.get(row["metric"])})
    for one in asked.contrasts:
        if resolve(study, one) is None:
            row = {"contrast": one.question, "arm": one.arm, "reference": one.reference, "metric": one.metric}
            rows.append(row | {"unit": one.unit, "primary": True, "n": 0, "dropped": 0, "verdict": NOT_RUN})
    return [row | {"family": len(asked.contrasts) if row["primary"] else None} for row in rows]
