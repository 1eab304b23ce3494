"""What a study that suffered faults may not differ in from one that did not."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import Any

from faults.study import Study
from studies.engine.decisions import comparable
from trainer.record.run import comparable as comparable_line

DECIDED = ("suggest", "finish", "select", "compare")
"""Events that a deterministic study has exactly once each, whatever was killed. What became of a trial at a rung is
compared apart: a kill between a rung's line and its stop line leaves the judgement on the first alone, and a trial that
arrives before the last of its bracket is suggested waits, where on a slower machine it is judged at once."""
OF_THE_CODE = ("commits", "dirty")


def differences(study: Study, reference: Study) -> list[str]:
    """Everything in which a killed and resumed deterministic study differs from the uninterrupted one."""
    found = broken(study)
    for event in DECIDED:
        ours, theirs = (
            Counter(json.dumps(comparable(line), sort_keys=True) for line in s.decisions(event))
            for s in (study, reference)
        )
        found += [f"more {event}: {line}" for line in ours - theirs] + [f"no {event}: {line}" for line in theirs - ours]
    for what in (_stops, judged):
        ours, theirs = what(study), what(reference)
        if ours != theirs:
            apart = sorted(set(ours.items()) ^ set(theirs.items()))
            found.append(f"{what.__name__.strip('_')} differs: {apart}")
    if study.run_ids != reference.run_ids:
        found.append(f"other runs: {sorted(set(study.run_ids) ^ set(reference.run_ids))}")
    for run in set(study.run_ids) & set(reference.run_ids):
        if _content(study, run) != _content(reference, run):
            found.append(f"the record of {run} differs")
    if table(study) != table(reference):
        found.append("the final tables differ")
    return found


def broken(study: Study) -> list[str]:
    """Lost and repeated epochs and decisions, and epochs trained twice beyond the bound, in a complete study."""
    found = []
    ends = _ends(study)
    for run in study.run_ids:
        for event in ("epoch", "eval"):
            epochs = [line["epoch"] for line in study.lines(run) if line["event"] == event and line["epoch"]]
            if epochs != list(range(1, len(epochs) + 1)):
                found.append(f"{run}: {event} lines of epochs {epochs}")
            if len(epochs) < ends.get(run, 0):
                found.append(f"{run}: ended at epoch {ends[run]}, {len(epochs)} are on record")
    for event, key in (("suggest", "trial"), ("finish", "name"), ("stop", "name"), ("rung", "name")):
        names = Counter((line[key], line.get("rung")) for line in study.decisions(event))
        found += [f"{count} {event} lines of {name}" for name, count in names.items() if count > 1]
    found += [
        f"{run}: attempt {attempt} trained {again} epochs again"
        for run, attempt, again in retrained(study)
        if again > 1
    ]
    return found


def retrained(study: Study) -> list[tuple[str, int, int]]:
    """(run, attempt, complete epochs it trained again) for every continued attempt.

    A checkpoint follows its epoch's lines, and the next epoch begins after it. So a kill either falls between the two,
    and one
    whole epoch is trained again, or inside an epoch, of which a part is: at most one epoch per live trial and kill.
    """
    found = []
    for run in study.run_ids:
        reached = 0
        for line in study.lines(run):
            if line["event"] == "epoch":
                reached = max(reached, line["epoch"])
            if line["event"] == "resume":
                found.append((run, line["attempt"], reached - line["epoch"]))
    return found


def start_ups(study: Study) -> list[float]:
    """Seconds of each search trial from its start to its first judgement that were neither training nor probing."""
    found = []
    for start in study.decisions("start"):
        judged = [line for line in study.decisions("rung") if line["name"] == start["name"] and line["t"] > start["t"]]
        if judged:
            run = next(line["run_id"] for line in study.decisions("suggest") if line["name"] == start["name"])
            spent = [
                line["seconds"]
                for line in study.lines(run)
                if line["event"] == "eval" and line["epoch"] <= judged[0]["epoch"]
            ]
            found.append(judged[0]["t"] - start["t"] - sum(sum(seconds.values()) for seconds in spent))
    return found


def table(study: Study) -> list[dict[str, str]]:
    """The final table without what depends on when and by which code it was made."""
    with (study.folder / "report" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: value for name, value in row.items() if name not in OF_THE_CODE and not _volatile(name)} for row in rows
    ]


def _volatile(name: str) -> bool:
    return any(word in name for word in ("seconds", "hours", "cost", "usd")) and name != "difference_seeds_needed"


def _ends(study: Study) -> dict[str, int]:
    return {line["run_id"]: line["epoch"] for line in study.decisions("finish")}


def _stops(study: Study) -> dict[str, Any]:
    judged = [line for line in study.decisions("rung", "stop") if line["event"] == "stop" or line["stop"]]
    return {line["name"]: (line["state"], line["epoch"], line["reason"], line["value"]) for line in judged}


def judged(study: Study) -> dict[tuple[str, int], tuple[Any, ...]]:
    """What became of each trial at each rung, from the line that settled it, by (name, rung)."""
    found = {}
    for line in study.decisions("rung", "promote", "stop"):
        if line.get("rung") is None or line.get("wait"):
            continue
        stopped = line["stop"] if line["event"] == "rung" else line["event"] == "stop"
        found[line["name"], line["rung"]] = (line["value"], line["cutoff"], line["peers"], stopped)
    return found


def _content(study: Study, run: str) -> list[dict[str, Any]]:
    """A run's record up to the epoch at which it ended; several workers may train on while they are being stopped."""
    end = _ends(study).get(run)
    kept = [line for line in study.lines(run) if line["event"] not in ("resume", "error")]
    return [comparable_line(line) for line in kept if end is None or (line["epoch"] or 0) <= end]
