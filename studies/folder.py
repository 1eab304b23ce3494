"""A study's folder: one driver at a time, one study for ever, one commit unless asked."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studies import warm_start
from studies.commits import other_code
from studies.plan import Plan
from trainer.errors import RecordError, UsageError
from trainer.records import read, write_json

COMPARED = (
    "base_arm", "preset", "overrides", "seeds", "epochs", "search_seed", "search", "stopping", "probe_epochs", "confirm", "arms", "gate", "declared",
)  # fmt: skip
"""Settings of study.json that a continued study must share."""


def agree(plan: Plan) -> None:
    """Write study.json, or check that the one on disk describes the same study (more trials are allowed).

    Raises:
        UsageError: another study, fewer trials than it has, or a damaged file.
        RecordError: runs recorded by another commit.
    """
    path, now = plan.folder / "study.json", plan.stored()
    if plan.begun:
        _same_commit(plan)
        before = stored(plan)
        now_plain = json.loads(json.dumps(now))
        for key in COMPARED:
            ours, theirs = now_plain[key], before.get(key)
            if key == "overrides":  # runtime settings are not part of what an arm is
                ours, theirs = ([one for one in given or () if not one.startswith("runtime.")] for given in (ours, theirs))
            if key == "search":  # the earlier studies may have been moved: by what they are, below
                ours, theirs = ({name: value for name, value in (search or {}).items() if name != "warm_start"} for search in (ours, theirs))
            if key == "declared" and theirs is None:
                continue  # begun before studies declared their contrasts; the analysis knows what holds for it
            if theirs != ours and isinstance(ours, dict) and isinstance(theirs, dict):
                part = next(name for name in ours if theirs.get(name) != ours[name])
                key, theirs, ours = f"{key}.{part}", theirs.get(part), ours[part]
            if key == "search.lag" and 0 in (ours, theirs):
                how = "with" if theirs else "without"
                raise UsageError(f"{path}: this study was begun {how} --deterministic; continue it {how} it, or choose another --study name")
            if theirs != ours:
                raise UsageError(
                    f"{path}: this study has {key} = {theirs!r}, not {ours!r}; "
                    "continue it with its own settings, or choose another --study name"
                )
        now["warm_from"] = _same_warm_start(plan, before)
        if plan.num_trials < before["num_trials"]:
            raise UsageError(f"--num-trials {plan.num_trials}: this study already has {before['num_trials']}; it can only grow")
        now["created"] = before["created"]
    else:
        now["warm_from"] = [warm_start.identity(folder) for folder in plan.search.warm_start]
        now["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(path, now)


def stored(plan: Plan) -> dict:
    """study.json of a study that was begun. Raises UsageError if it is damaged."""
    path = plan.folder / "study.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["num_trials"], content["created"], content["search"]["lag"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); restore it from a copy, or choose another --study name") from None
    return content


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        UsageError: another driver has it; on a shared file system possibly on another machine.
    """
    path = folder / ".lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "a process that left no name"
            raise UsageError(f"{folder}: another driver is running this study ({who}); wait for it or choose another --study name") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _same_warm_start(plan: Plan, before: dict) -> list[dict | None]:
    """Identities of the earlier studies, which must be those on record. Raises UsageError."""
    ours, theirs = plan.search.warm_start, before["search"].get("warm_start", [])
    known = before.get("warm_from") or [None] * len(theirs)
    if len(ours) != len(theirs) or not all(map(warm_start.is_same, ours, theirs, known)):
        raise UsageError(
            f"{plan.folder / 'study.json'}: this study has search.warm_start = {list(theirs)}, not {list(ours)}; give the same earlier studies "
            "in the same order (their folders may have been moved), or choose another --study name"
        )
    return [one or warm_start.identity(folder) for one, folder in zip(known, ours, strict=True)]


def _same_commit(plan: Plan) -> None:
    """Refuse to mix runs of different code in one table unless asked to."""
    if found := other_code(plan.folder, plan):
        raise RecordError(
            f"{plan.folder} was {found}: numbers of different code do not belong in one table; choose another --study name, or give "
            "--across-commits if you know that nothing relevant changed"
        )
