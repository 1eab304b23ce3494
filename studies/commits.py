"""Runs of different code do not belong in one table."""

from __future__ import annotations

from pathlib import Path

from studies.plan import Plan
from trainer.identity import provenance
from trainer.records import read


def other_code(folder: Path, plan: Plan) -> str | None:
    """By which other commit runs in a study's folder were recorded, in words; None if by no other, or if the plan allows it."""
    now = provenance()["commit"]
    if now is None or plan.across_commits:
        return None
    for path in sorted((folder / "runs").glob("[!.]*/records.jsonl")):
        others = {line["provenance"]["commit"] for line in read(path) if "provenance" in line} - {now, None}
        if others:
            return f"recorded by commit {sorted(others)[0][:10]}, this code is {now[:10]}"
    return None
