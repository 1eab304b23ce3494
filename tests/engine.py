"""A study's engine without Ray: a plan, its jobs, and a loop that plays made-up learning curves through them."""

from __future__ import annotations

import math
from pathlib import Path

from studies.engine.decisions import Decisions
from studies.engine.job import PAUSED, Job, Seen
from studies.engine.jobs import Jobs
from studies.engine.plan import Plan
from studies.engine.settings import Limits, Resources, SearchPlan, Stopping
from studies.step2_rate import STUDY


def plan(folder: Path, **changes) -> Plan:
    """Six trials, one rung at epoch 10, two seeds; ``changes`` name fields of Plan, SearchPlan, Stopping or Limits."""
    parts = {"search": SearchPlan, "stopping": Stopping, "limits": Limits}
    settings = {
        "study": "s", "folder": folder, "preset": "digits", "overrides": [], "seeds": (0, 1), "epochs": 30,
        "arms": STUDY.fixed_arms(False),
        "resources": Resources(1, 0, 1, "local", 2), "num_trials": 6, "confirm": STUDY.levels, "ranges": STUDY.ranges,
        "gate": "gate30", "declared": STUDY.declaration(STUDY.fixed_arms(False)),
    }  # fmt: skip
    for name, part in parts.items():
        known = part.__dataclass_fields__.keys() & changes.keys()
        settings[name] = part(
            **({"rule": "asha-stop", "grace": 10, "collapse_rank": 0.0} if part is Stopping else {})
            | {key: changes.pop(key) for key in known}
        )
    return Plan(**{**settings, **changes})


def make(p: Plan, **settings) -> Jobs:
    return Jobs(p, Decisions(p.folder), STUDY if p.num_trials else None, **settings)


def score_of(job: Job, epoch: int) -> float:
    """A made-up learning curve with its optimum at lambda = 0.03."""
    weight = job.overrides["objective.weights.rate"]
    return 50 + epoch - (5 * abs(math.log10(max(weight, 1e-4) / 0.03)) if weight else 20)


def seen_of(job: Job, epoch: int) -> Seen:
    score = score_of(job, epoch)
    return Seen(epoch, score, epoch, rank=10.0, objectives={"linacc": score, "r2_action": 0.9 - score / 200})


def play(jobs: Jobs, until: int | None = None, concurrent: int = 2, seen=seen_of, turns=None) -> int:
    """Run all jobs, ``concurrent`` at a time, one epoch each in turn; stop after ``until`` epochs. Returns epochs
    trained.

    Args:
        turns: orders the names of the running jobs before each round.
    """
    running, epochs, trained, reached = {}, {}, 0, {}
    while True:
        while len(running) < concurrent and (job := jobs.next()) is not None:
            running[job.name], epochs[job.name] = job, reached.pop(job.name, 0)
        if not running:
            return trained
        for name in turns(list(running)) if turns else list(running):
            epochs[name] += 1
            trained += 1
            now = seen(running[name], epochs[name])
            if jobs.report(name, now) or now.diverged or epochs[name] == jobs.plan.epochs:
                if jobs.end(name, now) == PAUSED:
                    reached[name] = epochs[name]
                del running[name]
            if until is not None and trained >= until:
                return trained
