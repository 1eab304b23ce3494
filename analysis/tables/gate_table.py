"""Gates, line by line: every rule that a compared run was judged by, with its value and threshold, and the share of
each arm's runs that passed."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.recorded.typed import typed
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, number

COLUMNS = [
    "study", "arm", "role", "arm_id", "run_id", "seed", "gate", "passed", "rule", "value", "relation", "threshold",
    "rule_passed", "reason", "arm_passed", "arm_judged",
]  # fmt: skip
_LINE = re.compile(r"(ok|FAIL)\s+(.+): (.+), must be (>=|<=) (\S+)")
_SIGNS = {">=": "≥", "<=": "≤"}
_NOTE = (
    "Of the runs that a gate judged, at its epoch; values to three digits, as its verdict holds them. Controls that"
    " must collapse are to fail."
)


def gate_numbers(frames: Frames) -> pd.DataFrame:
    """One row per compared run and rule of its gate, in the order of the arms.

    ``value`` is NaN where it was missing or not finite, which fails; a verdict without a rule on record, and a line
    that names no threshold, have an empty ``rule`` or ``relation``. ``arm_passed`` of ``arm_judged`` runs passed all
    rules.
    """
    rows: list[dict[str, Any]] = []
    for study, name in frames.named():
        rows += ({"study": name} | row for row in _of_study(study))
    numbers, counts = ("value", "threshold"), ("seed", "arm_passed", "arm_judged")
    return typed(rows, COLUMNS, number=numbers, whole=counts, truth=("passed", "rule_passed"), text=True)


def gate_sheets(found: pd.DataFrame) -> list[Sheet]:
    """Two tables of the rows of one study: the share of each arm, and every run."""
    if found.empty:
        return []
    found = found.assign(must=[_must(row) for _, row in found.iterrows()])
    return [_shares(found), _runs(found)]


def gates_absent(study: Study) -> list[str]:
    """What the table lacks, in sentences."""
    judged = {row["run_id"] for row in _of_study(study)}
    trained = study.finals[study.finals["role"] != "untrained"].drop_duplicates("run_id")
    if trained.empty:
        return ["No run was compared yet, so no gate was judged."]
    without = trained[~trained["run_id"].isin(judged)]
    if without.empty:
        return []
    if not judged and trained["complete"].all():
        return ["No run of the comparison was judged by a gate: the study has none."]
    why = ", ".join(f"{problem or 'no gate on record'}: {count}" for problem, count in _counted(without["problem"]))
    return [f"Not judged: {len(without)} of {len(trained)} runs ({why})."]


def _counted(column: pd.Series) -> list[tuple[str, int]]:
    return list(column.fillna("").value_counts().items())


def _of_study(study: Study) -> list[dict[str, Any]]:
    rows = []
    for key in study.arms.ordered:
        judged = {} if key[1] == "untrained" else _verdicts(study, study.arms.runs[key])
        who = {"arm": study.arms.names[key], "role": key[1], "arm_id": key[0]}
        who |= {"arm_passed": sum(bool(gate["passed"]) for gate in judged.values()), "arm_judged": len(judged)}
        for seed, run_id in study.arms.runs[key].items():
            if (gate := judged.get(run_id)) is None:
                continue
            run = who | {"run_id": run_id, "seed": seed, "gate": str(gate["gate"]), "passed": bool(gate["passed"])}
            rows += [run | rule for rule in map(_rule, gate.get("reasons") or [""])]
    return rows


def _verdicts(study: Study, runs: dict[int, str]) -> dict[str, dict[str, Any]]:
    found = {run_id: (study.runs[run_id].stop.get("gate") or {}) for run_id in runs.values() if run_id in study.runs}
    return {run_id: gate for run_id, gate in found.items() if gate}


def _rule(reason: str) -> dict[str, Any]:
    """A line of a verdict in parts."""
    whole = {"rule": "", "value": None, "relation": "", "threshold": None, "reason": str(reason), "rule_passed": None}
    parts = _LINE.fullmatch(str(reason).strip())
    if parts is None:
        return whole | {"rule_passed": False} if str(reason).startswith("FAIL") else whole
    word, rule, value, relation, threshold = parts.groups()
    return whole | {
        "rule": rule,
        "value": _float(value),
        "relation": relation,
        "threshold": _float(threshold),
        "rule_passed": word == "ok",
    }


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _must(row: pd.Series) -> str:
    return f"{row['rule']} {_SIGNS[row['relation']]} {_shown(row['threshold'])}" if row["rule"] else ""


def _shown(value: float) -> str:
    return EMPTY if pd.isna(value) else f"{value:.3g}"


def _shares(found: pd.DataFrame) -> Sheet:
    rows = []
    for arm, of_arm in found.groupby("arm", sort=False):
        first = of_arm.iloc[0]
        rows.append([arm, first["gate"], "all rules", EMPTY, f"{first['arm_passed']}/{first['arm_judged']}"])
        for must, of_rule in of_arm[of_arm["must"] != ""].groupby("must", sort=False):
            low, high = of_rule["value"].min(), of_rule["value"].max()
            between = _shown(low) if low == high or pd.isna(low) else f"{_shown(low)} to {_shown(high)}"
            absent = int(of_rule["value"].isna().sum())
            between += f", {absent} missing" if absent and pd.notna(low) else ""
            rows.append([arm, first["gate"], must, between, f"{of_rule['rule_passed'].sum()}/{len(of_rule)}"])
    title = f"{found['study'].iloc[0]}: gates by arm"
    return Sheet(title, ["arm", "gate", "rule", "values", "passed"], rows, 3, notes=(_NOTE,))


def _runs(found: pd.DataFrame) -> Sheet:
    rules = [must for must in dict.fromkeys(found["must"]) if must]
    rows = []
    for (arm, _), of_run in found.groupby(["arm", "run_id"], sort=False):
        first = of_run.iloc[0]
        cells = []
        for rule in rules:
            line = of_run[of_run["must"] == rule]
            cells.append(EMPTY if line.empty else _cell(line.iloc[0]))
        other = "; ".join(of_run.loc[of_run["must"] == "", "reason"].str.removeprefix("FAIL").str.strip())
        verdict = ("passed" if first["passed"] else "failed") + (f": {other}" if other else "")
        rows.append([arm, number(first["seed"], 0), first["gate"], verdict, *cells])
    title = f"{found['study'].iloc[0]}: gates by run"
    return Sheet(title, ["arm", "seed", "gate", "verdict", *rules], rows, 4)


def _cell(line: pd.Series) -> str:
    value = "missing" if pd.isna(line["value"]) else _shown(line["value"])
    return value if line["rule_passed"] else f"{value} FAIL"
