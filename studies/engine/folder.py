"""A study's folder: one driver at a time, one study for ever, one commit unless asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine import warm_start
from studies.engine.commits import other_code, other_probes
from studies.engine.plan import Plan
from trainer.errors import RecordError, UsageError
from trainer.record.dotted import dotted
from trainer.record.lock import NAME as LOCK
from trainer.record.lock import Lock
from trainer.record.run import write_json
from trainer.record.study_lines import read_info

COMPARED = (
    "preset", "overrides", "base_arm", "seeds", "epochs", "search_seed", "search", "stopping", "probe_epochs",
    "confirm", "arms", "gate", "declared", "ranges", "until",
)  # fmt: skip
"""Settings of study.json that a continued study must share."""
BEFORE = {"race": 0, "seed": None, "verdict": True, "choose": "raw"}
"""What studies did that were begun before these settings of a search existed."""


def agree(plan: Plan, also: Callable[[], None] = lambda: None) -> None:
    """Write study.json, once it is ``checked``."""
    write_json(plan.folder / "study.json", checked(plan, also))


def checked(plan: Plan, also: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """What study.json is to hold, if the one on disk describes the same study (more trials are allowed).

    Args:
        also: a further check of what is on record.

    Raises:
        UsageError: another study, fewer trials than it has, or a damaged file.
        RecordError: runs recorded by another commit.
    """
    path, now = plan.folder / "study.json", plan.stored()
    begun = plan.begun
    _same_code_and_probes(plan)
    if begun:
        before = stored(plan)
        now_plain = json.loads(json.dumps(now))
        for key in COMPARED:
            ours, theirs = now_plain[key], before.get(key)
            if key == "overrides":  # runtime settings are not part of what an arm is
                ours, theirs = (
                    [one for one in given or () if not one.startswith("runtime.")] for given in (ours, theirs)
                )
            if key == "search":  # the earlier studies may have been moved: by what they are, below
                ours, theirs = (
                    {name: value for name, value in {**BEFORE, **(search or {})}.items() if name != "warm_start"}
                    for search in (ours, theirs)
                )
            if key == "ranges" and theirs is None:  # what a study begun by earlier code did not say cannot have changed
                continue
            if key == "declared":  # likewise
                ours = _as_far_as(theirs, ours)
            if theirs != ours and isinstance(ours, dict) and isinstance(theirs, dict):
                part = next(name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name))
                key, theirs, ours = f"{key}.{part}", theirs.get(part), ours.get(part)
            if key in ("preset", "overrides", "base_arm") and theirs != ours:
                key, theirs, ours = _named(key, theirs, ours, before.get("base"), now_plain["base"])
            if key == "search.lag" and 0 in (ours, theirs):
                how = "with" if theirs else "without"
                raise UsageError(
                    f"{path}: this study was begun {how} --deterministic; continue it {how} it, or choose another"
                    " --study name"
                )
            if theirs != ours:
                key, theirs, ours = _which(key, theirs, ours)
                raise UsageError(
                    f"{path}: this study has {key} = {theirs!r}, not {ours!r}; "
                    "continue it with its own settings, or choose another --study name"
                )
        now["warm_from"] = _same_warm_start(plan, before)
        if plan.num_trials < before["num_trials"]:
            raise UsageError(
                f"--num-trials {plan.num_trials}: this study already has {before['num_trials']}; it can only grow"
            )
        now["created"] = before["created"]
        also()
    else:
        now["warm_from"] = [warm_start.identity(folder) for folder in plan.search.warm_start]
        now["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return now


def _as_far_as(theirs: Any, ours: Any) -> Any:
    """The part of ``ours`` that ``theirs`` speaks of."""
    if theirs is None:
        return None
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {name: _as_far_as(value, ours[name]) for name, value in theirs.items() if name in ours}
    if (
        isinstance(theirs, list)
        and isinstance(ours, list)
        and len(theirs) == len(ours)
        and all(isinstance(one, dict) for one in theirs)
    ):
        return [_as_far_as(*pair) for pair in zip(theirs, ours, strict=True)]
    return ours


def _named(key: str, theirs: Any, ours: Any, before: dict | None, now: dict) -> tuple[str, Any, Any]:
    """Which setting common to all arms differs; a hash or a list of overrides would not say."""
    if not before:  # a study begun before its settings were kept
        named = "the settings common to all arms (their hash)" if key == "base_arm" else key
        return named, theirs, ours
    then, here = dotted(before, empty=True), dotted(now, empty=True)
    differ = [name for name in sorted(then.keys() | here.keys()) if then.get(name) != here.get(name)]
    if not differ:
        return key, theirs, ours
    more = f" ({len(differ) - 1} more settings differ)" if len(differ) > 1 else ""
    preset = f"preset {theirs!r}, not {ours!r}, so " if key == "preset" else ""
    return f"{preset}{differ[0]}", then.get(differ[0]), _Shown(f"{here.get(differ[0])!r}{more}")


def _which(key: str, theirs: Any, ours: Any) -> tuple[str, Any, Any]:
    """Of lists of arms, those that differ: all of them would fill a screen."""
    if key != "arms" or not (theirs and ours):
        return key, theirs, ours
    before, now = ({arm["key"]: arm for arm in given} for given in (theirs, ours))
    if before.keys() == now.keys():
        name = next((name for name in now if before[name] != now[name]), None)
        if name is None:
            return f"the order of its {key}", list(before), list(now)
        return _named(key, None, None, {f"{key}.{name}": before[name]}, {f"{key}.{name}": now[name]})
    shown = []
    for mine, other in ((before, now), (now, before)):
        alone = [name for name in mine if name not in other]
        more = f" and {len(alone) - 2} more" if len(alone) > 2 else ""
        shown.append(_Shown(f"{len(mine)}{' with ' if alone else ''}{', '.join(alone[:2])}{more}"))
    return key, *shown


class _Shown(str):
    """Text that is shown as it is."""

    def __repr__(self) -> str:
        return str(self)


def stored(plan: Plan) -> dict:
    """study.json of a study that was begun. Raises UsageError if it is damaged."""
    path = plan.folder / "study.json"
    content = read_info(path)
    wanted = {"num_trials": content, "created": content, "lag": content.get("search") or {}}
    if missing := next((name for name, place in wanted.items() if name not in place), None):
        raise UsageError(f"{path} has no {missing}; restore it from a copy, or choose another --study name")
    return content


def only_driver(folder: Path) -> Lock:
    """Hold the folder's lock, as a context.

    Raises:
        UsageError: another driver has it; on a shared file system possibly on another machine.
        RecordError: the file system has no locks.
    """
    return Lock(
        folder / LOCK,
        f"{folder}: another driver is running this study ({{who}}); wait for it or choose another --study name",
    )


def _same_warm_start(plan: Plan, before: dict) -> list[dict | None]:
    """Identities of the earlier studies, which must be those on record. Raises UsageError."""
    ours, theirs = plan.search.warm_start, before["search"].get("warm_start", [])
    known = before.get("warm_from") or [None] * len(theirs)
    if len(ours) != len(theirs) or not all(map(warm_start.is_same, ours, theirs, known)):
        raise UsageError(
            f"{plan.folder / 'study.json'}: this study has search.warm_start = {list(theirs)}, not {list(ours)}; give"
            " the same earlier studies in the same order (their folders may have been moved), or choose another"
            " --study name"
        )
    return [one or warm_start.identity(folder) for one, folder in zip(known, ours, strict=True)]


def _same_code_and_probes(plan: Plan) -> None:
    """Refuse to mix runs of different probes in one table, and of different code unless asked to."""
    if found := other_code(plan.folder, plan):
        raise RecordError(
            f"{plan.folder} was {found}: numbers of different code do not belong in one table; choose another --study"
            " name, or give --across-commits if you know that nothing relevant changed"
        )
    if found := other_probes(plan.folder, plan):  # a preset of the same name that measures otherwise now
        raise RecordError(
            f"{plan.folder} was measured with {found}: numbers of different probes do not belong in one table; choose"
            " another --study name"
        )
