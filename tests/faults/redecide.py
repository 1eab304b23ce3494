"""The promise of the default mode: the same decisions for the same record.

Every suggestion and judgement of a study is asked for once more, of a driver that knows what was on record just before.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from faults.study import Study
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine.decisions import Decisions, comparable
from studies.engine.job import Seen
from studies.engine.jobs import Jobs
from studies.step2_rate import STUDY
from trainer.command.cli import split_overrides


def differences(study: Study, arguments: list[str], folder: Path) -> list[str]:
    """Decisions that come out otherwise. ``folder`` is scratch."""
    options = parser(STUDY).parse_args(split_overrides([*arguments, "--across-commits", "--results-dir", str(folder)]))
    plan = make_plan(options, STUDY)
    found, lines = [], study.decisions()
    for number, line in enumerate(lines):
        if line["event"] not in ("suggest", "rung"):
            continue
        before = folder / f"before-{number}"
        before.mkdir(parents=True)
        (before / "decisions.jsonl").write_text("".join(json.dumps(earlier) + "\n" for earlier in lines[:number]))
        jobs = Jobs(replace(plan, folder=before), Decisions(before), STUDY)
        if line["event"] == "suggest":
            jobs.search.next()
        else:
            seen = Seen(line["epoch"], line["value"], line["epoch"], rank=1e9, objectives=line.get("objectives", {}))
            jobs.search.report(jobs.search.trials[line["trial"]], seen)
        again = jobs.decisions.last(line["event"], trial=line["trial"])
        if again is None or comparable(again) != comparable(line):
            found.append(f"decided otherwise: {line} and {again}")
    return found
