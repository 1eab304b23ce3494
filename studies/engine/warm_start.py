"""What an earlier study knows already: its trials for the sampler, its runs instead of training them again."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.engine.commits import other_code, other_probes
from studies.engine.decisions import NAME, Decisions
from studies.engine.job import NOT_RUN
from studies.engine.plan import Plan
from studies.engine.question import Question
from trainer.errors import UsageError, with_kind
from trainer.record.copies import copies
from trainer.record.identity import arm_id
from trainer.record.lock import NAME as LOCK
from trainer.record.study_lines import read_decisions, read_info

NEEDED = ("base_arm", "epochs", "search_seed", "rungs", "ranges")


def check(plan: Plan, question: Question) -> None:
    """Refuse an earlier study whose values do not stand beside this one's.

    Once its trials are on this study's record, the earlier study may be gone.

    Raises:
        UsageError: no study there, another preset, length, seed, rungs or space, trials that are other arms here, or
            another commit.
    """
    ours = json.loads(json.dumps(plan.stored()))
    if not plan.begun:
        _once(plan.search.warm_start)
    for folder in map(Path, plan.search.warm_start):
        if folder.resolve() == plan.folder.resolve():
            raise UsageError(f"--warm-start {folder}: is this study itself; use --resume")
        theirs = _stored(folder)
        if theirs is None:
            if any(line["event"] == "suggest" for line in read_decisions(plan.folder / NAME)):
                continue
            raise UsageError(
                f"--warm-start {folder}: no readable study.json there; give an earlier study's folder, results/<study>"
            )
        others = _other_arms(plan, question, folder)
        for key in NEEDED:
            if key == "base_arm" and others is None:
                continue  # a preset may have changed where the space has values of its own
            if theirs.get(key) != ours.get(key):
                raise UsageError(
                    f"--warm-start {folder}: that study has {key} = {theirs.get(key)!r}, this one {ours.get(key)!r};"
                    " its values are not comparable"
                )
        if others:
            raise UsageError(f"--warm-start {folder}: {others}, so its values are not comparable")
        if found := other_probes(folder, plan):
            raise UsageError(f"--warm-start {folder}: measured with {found}, so its values are not comparable")
        if found := other_code(folder, plan):
            raise UsageError(
                f"--warm-start {folder}: {found}; give --across-commits if you know that nothing relevant changed"
            )


def _once(given: Sequence[str]) -> None:
    """Refuse an earlier study and its copy: the sampler would be told each trial twice."""
    folders = [Path(folder).resolve() for folder in given]
    twice = copies(folder for folder in folders if folder.is_dir())
    for place, folder in enumerate(folders):
        if folder in folders[:place] or folder in twice:
            of = twice.get(folder, folder)
            raise UsageError(f"--warm-start {given[place]}: holds the runs of {of}; name each earlier study once")


def _other_arms(plan: Plan, question: Question, folder: Path) -> str | None:
    """Which trial would be another arm here, as a range in words does not say which setting it is of; "" where that
    cannot be told of all, None where every one is the same arm."""
    suggested = [line for line in read_decisions(folder / NAME) if line["event"] == "suggest"]
    for line in suggested:
        if line.get("arm_id") is None:
            continue
        try:
            ours = arm_id(plan.config(question.point(line["raw"]), plan.search_seed))
        except (KeyError, TypeError, ValueError, UsageError) as error:
            ours = f"none of this space ({with_kind(error)})"
        if ours != line["arm_id"]:
            return (
                f"its trial {line['trial']} is arm {line['arm_id']}, here the same point {line['raw']} is {ours}; this"
                " space makes other settings of it"
            )
    return None if suggested and all(line.get("arm_id") for line in suggested) else ""


def identity(folder: str) -> dict[str, Any] | None:
    """What names an earlier study wherever its folder is moved; None if it is gone."""
    info = _stored(Path(folder))
    return None if info is None else {"study": info.get("study"), "created": info.get("created")}


def is_same(folder: str, before: str, known: dict[str, Any] | None) -> bool:
    """Whether ``folder`` holds the earlier study that a study began with.

    Args:
        before: its folder at that time.
        known: its identity on record; None in a study begun before identities were kept.
    """
    now, name = identity(folder), Path(before).name
    if now is None or known is None:  # the folder's name is all there is
        return name in (Path(folder).name, None if now is None else now["study"])
    return now == known


def absorb(plan: Plan, decisions: Decisions) -> int:
    """Put the ended trials of the earlier studies on this study's record, once; returns how many are there.

    Only the driver that holds the folder's lock may call it: it removes copies that a kill left half made.
    """
    for half in (plan.folder / "runs").glob(".*.tmp"):
        shutil.rmtree(half, ignore_errors=True)
    # all were told before the first suggestion, and later ones must not change what follows
    if decisions.of("suggest"):
        for folder in plan.search.warm_start:
            if identity(folder) is None:
                print(
                    f"warm start: {folder} is gone; runs that were not copied from it yet are trained here",
                    file=sys.stderr,
                )
        return len(decisions.of("warm"))
    known = {(line.get("place"), line["from"], line["trial"]) for line in decisions.of("warm")}
    for place, folder in enumerate(map(Path, plan.search.warm_start), start=1):
        lines = read_decisions(folder / NAME, engine=True)
        ends = {line["trial"]: line for line in lines if line["event"] == "finish" and line["trial"] is not None}
        origin = (_stored(folder) or {}).get("study")
        for line in lines:
            end = ends.get(line.get("trial"))
            if line["event"] != "suggest" or end is None or end["state"] in NOT_RUN:
                continue
            # two earlier studies may have one name; lines of former versions have no place
            if {(place, origin, line["trial"]), (None, origin, line["trial"])} & known:
                continue
            rungs = [[r["rung"], r["value"]] for r in lines if r["event"] == "rung" and r["trial"] == line["trial"]]
            told: dict[str, Any] = {name: end[name] for name in ("run_id", "arm_id", "state", "epoch", "objectives")}
            decisions.append(
                "warm", **{"from": origin}, place=place, trial=line["trial"], params=line["params"], raw=line["raw"],
                bracket=line["bracket"],
                rungs=rungs, **told,
            )  # fmt: skip
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
            half = target.with_name(f".{run_id}.tmp") / run_id  # a level below runs/*/records.jsonl, where readers look
            shutil.rmtree(half.parent, ignore_errors=True)
            shutil.copytree(source, half, ignore=shutil.ignore_patterns(LOCK))
            half.rename(target)
            half.parent.rmdir()
            return True
    return False


def _stored(folder: Path) -> dict[str, Any] | None:
    """study.json of an earlier study, None if there is none. Raises UsageError if it is damaged."""
    try:
        return read_info(folder / "study.json")
    except OSError:
        return None
