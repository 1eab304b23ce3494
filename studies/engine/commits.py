"""Runs of different code do not belong in one table."""

from __future__ import annotations

from pathlib import Path

from studies.engine.plan import Plan
from trainer.record.identity import other_code as other_code_of
from trainer.record.run import read_run


def other_code(folder: Path, plan: Plan) -> str | None:
    """By which other code runs in a study's folder were recorded, in words; None if by no other, or if the plan allows
    it.

    Raises:
        RecordError: a run's record is damaged.
    """
    paths = sorted((folder / "runs").glob("[!.]*/records.jsonl"))
    found = [other_code_of(list(read_run(path, path.parent.name))) for path in paths]
    return None if plan.across_commits else next(filter(None, found), None)
