"""What an earlier study knows already: its trials for the sampler, its runs instead of training them again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from studies.decisions import NAME, Decisions
from studies.job import NOT_RUN
from studies.plan import Plan
from trainer.errors import UsageError
from trainer.identity import provenance
from trainer.records import read

NEEDED = ("base_arm", "epochs", "search_seed", "rungs", "ranges")


def check(plan: Plan) -> None:
    """Refuse an earlier study whose values do not stand beside this one's.

    Raises:
        UsageError: no study there, another preset, length, seed, rungs or space, or another commit.
    """
    ours = json.loads(json.dumps(plan.stored()))
    for folder in map(Path, plan.search.warm_start):
        if folder.resolve() == plan.folder.resolve():
            raise UsageError(f"--warm-start {folder}: is this study itself; use --resume")
        try:
            theirs = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UsageError(f"--warm-start {folder}: no readable study.json there; give an earlier study's folder, results/<study>") from None
        for key in NEEDED:
            if theirs.get(key) != ours.get(key):
                raise UsageError(f"--warm-start {folder}: that study has {key} = {theirs.get(key)!r}, this one {ours.get(key)!r}; its values are not comparable")
        _same_commit(folder, plan)


def absorb(plan: Plan, decisions: Decisions) -> int:
    """Put the ended trials of the earlier studies on this study's record, once; returns how many are there."""
    known = {(line["from"], line["trial"]) for line in decisions.of("warm")}
    for folder in map(Path, plan.search.warm_start):
        lines = list(read(folder / NAME))
        ends = {line["trial"]: line for line in lines if line["event"] == "finish" and line["trial"] is not None}
        for line in lines:
            end = ends.get(line.get("trial"))
            if line["event"] != "suggest" or end is None or end["state"] in NOT_RUN:
                continue
            origin = json.loads((folder / "study.json").read_text(encoding="utf-8"))["study"]
            if (origin, line["trial"]) in known:
                continue
            rungs = [[r["rung"], r["value"]] for r in lines if r["event"] == "rung" and r["trial"] == line["trial"]]
            told: dict[str, Any] = {name: end[name] for name in ("run_id", "arm_id", "state", "epoch", "objectives")}
            decisions.append(
                "warm", **{"from": origin}, trial=line["trial"], params=line["params"], raw=line["raw"], bracket=line["bracket"], rungs=rungs, **told
            )
    return len(decisions.of("warm"))


def fetch(plan: Plan, run_id: str) -> bool:
    """Copy a run of an earlier study, record and checkpoint, if this study has none; True if it was copied.

    The record names the study it was made in. A kill leaves the whole run or nothing.
    """
    target = plan.folder / "runs" / run_id
    if target.exists():
        return False
    for folder in map(Path, plan.search.warm_start):
        source = folder / "runs" / run_id
        if (source / "records.jsonl").exists():
            half = target.with_name(f".{run_id}.{os.getpid()}.tmp")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(source, half)
            half.rename(target)
            return True
    return False


def _same_commit(folder: Path, plan: Plan) -> None:
    now = provenance()["commit"]
    if now is None or plan.across_commits:
        return
    for path in sorted((folder / "runs").glob("*/records.jsonl")):
        others = {line["provenance"]["commit"] for line in read(path) if "provenance" in line} - {now, None}
        if others:
            raise UsageError(
                f"--warm-start {folder}: recorded by commit {sorted(others)[0][:10]}, this code is {now[:10]}; give --across-commits if you know "
                "that nothing relevant changed"
            )
