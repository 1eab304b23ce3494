"""One run in full, for the page's dialog: what differs from its reference, its curve, its judgements, where it came
from, and the command that trains it again."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from typing import Any

from analysis.page.facts import Facts
from analysis.page.records import first_line
from analysis.recorded.runs import Run
from analysis.recorded.study import values
from analysis.statistics.differences import Key
from trainer.record.dotted import dotted

MOST = 200
"""Trials whose details are in the page; of more the best and the newest. Compared runs are all in it."""
_SCIENCE = ("family", "data", "model", "objective", "optim", "schedule", "precision")


def details(facts: Facts, ids: list[str]) -> dict[str, dict[str, Any]]:
    """By the id of a row of ``rows.tables``.

    Args:
        ids: trials wanted, the most wanted first.
    """
    study = facts.study
    trials = {trial["name"]: trial for trial in study.search.to_dict("records")}
    rungs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in study.decisions:
        if line["event"] == "rung" and line.get("name"):
            rungs[line["name"]].append(line)
    wanted = [name for name in ids if name in trials][:MOST]
    scores = _scores(facts, {*facts.of_run, *(trials[name]["run_id"] for name in wanted)})
    found = {}
    for name in wanted:
        trial = trials[name]
        base = _base_of(facts, trial)
        found[name] = _detail(facts, trial["run_id"], str(trial["label"] or name), base, scores) | {
            "rungs": [[line["epoch"], line.get("value"), line.get("cutoff"), line.get("peers"), bool(line.get("stop"))]
                      for line in rungs[name]],
            "reason": trial["stop_reason"] or "",
        }  # fmt: skip
    for run_id, key in facts.of_run.items():
        own = study.arms.reference(key) or study.arms.reference(key, "peer")
        found[run_id] = _detail(facts, run_id, facts.names[key], own, scores) | {"rungs": [], "reason": ""}
    return found


def _detail(
    facts: Facts,
    run_id: str | None,
    label: str,
    reference: Key | None,
    scores: dict[str, tuple[list[int], list[float]]],
) -> dict[str, Any]:
    run = facts.study.runs.get(run_id or "")
    gate = (run.stop.get("gate") or {}) if run else {}
    path = facts.study.folder / "runs" / (run_id or "") / "records.jsonl"
    epochs, curve = scores.get(run_id or "", ([], []))
    provenance = (first_line(path).get("provenance") or {}) if run else {}
    versions = ", ".join(f"{name} {version}" for name, version in (provenance.get("versions") or {}).items())
    origin = {
        "commit": (run.commit + (" with uncommitted changes" if run.dirty else "")) if run and run.commit else "",
        "host": provenance.get("host"), "python": provenance.get("python"), "libraries": versions,
        "device": run.started.get("device") if run else None,
        "split": run.started.get("split_hash") if run else None,
        "attempts": run.started.get("attempt") if run else None,
    }  # fmt: skip
    return {
        "label": label,
        "run": run_id or "",
        "curve": [epochs, curve],
        "gate": {"name": gate.get("gate", ""), "passed": gate.get("passed"), "lines": list(gate.get("reasons") or [])},
        "settings": _settings(facts, run, reference),
        "origin": [[name, str(value)] for name, value in origin.items() if value not in (None, "")],
        "path": str(path),
        "command": command(facts, run) if run else "",
    }


def command(facts: Facts, run: Run) -> str:
    """What trains the run again: the preset, the study's overrides, and whatever of this run is not as in them; ""
    where the record does not say."""
    info = facts.study.info
    if not run.config or not info.get("preset") or not isinstance(info.get("base"), dict):
        return ""
    base, own = dotted(info["base"]), _science(run)
    varied = facts.varied
    words = []
    for name, value in own.items():
        parent_is_null = any(
            base.get(".".join(name.split(".")[:depth]), 0) is None for depth in range(1, name.count(".") + 1)
        )
        if name in base:
            differs = base[name] != value
        else:
            # left out of the base because it had the value of before the setting existed
            differs = parent_is_null and value is not None or (name in varied and not parent_is_null)
        if differs and not (value is None and name not in base and parent_is_null):
            words.append(f"{name}={_word(value)}")
    words = [*map(str, info.get("overrides") or []), *words]
    seed = ["--seed", str(run.seed)] if run.seed is not None else []
    epochs = ["--epochs", str(run.config["epochs"])] if run.config.get("epochs") is not None else []
    return shlex.join(["python", "-m", "trainer", "--preset", str(info["preset"]), *words, *seed, *epochs])


def _science(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.settings.items() if name.partition(".")[0] in _SCIENCE}


def _word(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_word, value))}]" if isinstance(value, list) else str(value)


def _settings(facts: Facts, run: Run | None, reference: Key | None) -> dict[str, Any]:
    """Settings of the run and of its reference where they differ, and how many are equal."""
    if run is None or not run.config:
        return {"against": "", "differ": [], "equal": 0}
    own = _science(run)
    name, other = _reference_settings(facts, reference)
    if not other:
        return {"against": "", "differ": [], "equal": 0}
    # a preset's settings lack those that came later; a missing one says nothing
    keys = dict.fromkeys([*own, *other]) if reference else [key for key in own if key in other]
    differ = [
        [key, _word(own[key]) if key in own else "-", _word(other[key]) if key in other else "-"]
        for key in keys
        if own.get(key, _GONE) != other.get(key, _GONE)
    ]
    both = own.keys() & other.keys()
    return {"against": name, "differ": differ, "equal": sum(own[key] == other[key] for key in both)}


_GONE = object()


def _reference_settings(facts: Facts, reference: Key | None) -> tuple[str, dict[str, Any]]:
    if reference is None:  # nothing to compare it with but what the study builds upon
        base = facts.study.info.get("base")
        return (
            ("the preset", dotted({k: v for k, v in base.items() if k in _SCIENCE}))
            if isinstance(base, dict)
            else ("", {})
        )
    for run_id in facts.study.arms.runs[reference].values():
        run = facts.study.runs.get(run_id)
        if run is not None and run.config:
            return facts.names[reference], _science(run)
    return "", {}


def _base_of(facts: Facts, trial: dict[str, Any]) -> Key | None:
    """Whom a trial is set against: the best arm of its level, and if it is that one, its reference."""
    best = facts.study.arms.find("best", facts.study.declared.level(trial))
    if best is not None and best[0] == trial["arm_id"]:
        return facts.study.arms.reference(best)
    return best or facts.study.arms.find("control")


def _scores(facts: Facts, wanted: set[str]) -> dict[str, tuple[list[int], list[float]]]:
    curves = facts.study.curves
    if curves.empty:
        return {}
    curves = curves[curves["run_id"].isin(wanted)]
    known = curves.assign(score=values(curves, facts.study.declared.metric.name)).dropna(subset=["score"])
    return {
        run_id: (
            group["epoch"].astype(int).tolist(),
            [round(value, 6) for value in group["score"] if math.isfinite(value)],
        )
        for run_id, group in known.groupby("run_id")
    }
