"""How the trials of a search rank, those taken over from earlier studies among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.candidates import Candidate, unbeaten
from studies.engine.job import Job
from studies.engine.plan import Plan
from studies.engine.question import Question
from trainer.record.identity import arm_id

COUNTED = ("complete", "pruned")
"""States whose score counts."""


def ranked(candidates: Iterable[Candidate], group: str, plan: Plan, question: Question) -> list[Candidate]:
    """Eligible trials of a group, best first, one per arm.

    By one objective: furthest epoch, then value, then number. By several: those no other trial beats in all of them
    come first, in the order of the stated scalar.
    """
    found = []
    for candidate in candidates:
        params = question.params(candidate.overrides)
        if question.group(params) == group and question.eligible(params):
            found.append(candidate)
    front = unbeaten(found, plan.search.objectives) if len(plan.search.objectives) > 1 else set()
    found.sort(key=lambda c: (c.trial not in front, -c.epoch, -c.value, c.trial))
    arms: dict[str, Candidate] = {}
    for candidate in found:
        arms.setdefault(arm_id(plan.config(candidate.overrides, plan.search_seed)), candidate)
    return list(arms.values())


def own(trials: Mapping[int, Job], ends: Mapping[int, dict[str, Any]]) -> list[Candidate]:
    """Trials of this study with a score.

    Args:
        ends: their ``finish`` lines.
    """
    found = []
    for number, line in ends.items():
        job = trials[number]
        if line.get("state") in COUNTED and line["value"] is not None:
            told = (line["state"], line["epoch"], line["value"], line["objectives"])
            found.append(Candidate(number, job.label, job.overrides, *told))
    return found


def taken_over(warm: Iterable[dict[str, Any]], question: Question, steps: int) -> list[Candidate]:
    """Trials of earlier studies with a score, under this study's names.

    Args:
        warm: their lines on this study's record.
        steps: of a run of this study, for the labels.
    """
    found = []
    for number, line in enumerate(warm, start=1):
        value = line["objectives"].get("linacc")
        if line["state"] in COUNTED and value is not None:
            keys = question.point(line["raw"])
            label = question.describe(question.params(keys), steps)
            found.append(Candidate(-number, label, keys, line["state"], line["epoch"], value, line["objectives"]))
    return found
