"""The form of a study's two files, decisions.jsonl and study.json, as the engine and the analysis both read them.

:mod:`studies.engine.decisions` says what the events mean. Fields that only later versions write may be absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from trainer.errors import UsageError
from trainer.record.jsonl import RESTORE, check, explain, numbered
from trainer.record.run_lines import Count, Number

SCHEMA_VERSION = 1
EVENTS = (
    "begin", "warm", "suggest", "capacity", "start", "rung", "promote", "stop", "fail", "lost", "finish", "race",
    "noise", "select", "look", "compare", "tick", "session",
)  # fmt: skip
STATES = Literal["complete", "pruned", "collapsed", "diverged", "failed", "out_of_memory"]
REMEDY = f"{RESTORE}, or choose another name for the study"

_FORM = ConfigDict(extra="allow", strict=True)
_Values = dict[str, str | bool | int | Number | None]
_Scores = dict[str, Number | None]
_Scored = Annotated[list[Number | None], Field(min_length=3, max_length=3)]


class Line(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    event: str
    schema_version: NotRequired[int]
    t: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    name: NotRequired[str]
    trial: NotRequired[Count | None]
    run_id: NotRequired[str]
    arm_id: NotRequired[str]
    bracket: NotRequired[str]
    params: NotRequired[_Values]
    raw: NotRequired[_Values]
    source: NotRequired[str]
    label: NotRequired[str | None]
    state: NotRequired[STATES]
    epoch: NotRequired[Count | None]
    value: NotRequired[Number | None]
    objectives: NotRequired[_Scores]
    reason: NotRequired[str | None]
    rung: NotRequired[Count]
    cutoff: NotRequired[Number | None]
    peers: NotRequired[Count]
    stop: NotRequired[bool]
    wait: NotRequired[bool]
    rank: NotRequired[Number | None]
    floor: NotRequired[Number | None]
    kind: NotRequired[str]
    counted: NotRequired[bool]
    again: NotRequired[bool]
    teacher: NotRequired[str | None]
    trials: NotRequired[list[int]]
    values: NotRequired[list[Number | None]]
    epochs: NotRequired[list[int | None]]
    choose: NotRequired[str]
    not_smoothed: NotRequired[str]
    by_smoothed: NotRequired[list[_Scored]]
    by_raw: NotRequired[list[_Scored]]
    fitted: NotRequired[list[_Scored]]
    role: NotRequired[str]
    lambda_rate: NotRequired[Number | None]
    reference: NotRequired[str | None]
    peer: NotRequired[str | None]
    runs: NotRequired[list[str]]
    race_runs: NotRequired[list[list[str]]]
    n: NotRequired[Count]
    unresolved: NotRequired[list[str]]
    more: NotRequired[list[Count]]
    seeds: NotRequired[list[int]]
    search_value: NotRequired[Number | None]
    place: NotRequired[int | None]
    origin: NotRequired[Annotated[str | None, Field(alias="from")]]
    rungs: NotRequired[list[Annotated[list[Number | None], Field(min_length=2, max_length=2)]]]
    cores: NotRequired[Count]
    concurrent: NotRequired[Count]
    workers: NotRequired[Count]
    cpus: NotRequired[Number]
    gpus: NotRequired[Number]
    usd_per_hour: NotRequired[Number | None]
    commit: NotRequired[str | None]
    seconds: NotRequired[Number]
    finished: NotRequired[bool]
    budget: NotRequired[str | None]


NEEDED = {
    "suggest": ("trial",), "finish": ("trial", "state"), "stop": ("trial",), "rung": ("trial",), "promote": ("trial",),
    "compare": ("arm_id", "role"), "fail": ("kind",),
}  # fmt: skip
"""What a reader of any event must find."""
ENGINE_NEEDED = {
    "warm": ("from", "trial", "run_id", "arm_id", "state", "epoch", "objectives", "params", "raw", "bracket", "rungs"),
    "suggest": ("trial", "name", "run_id", "params", "raw", "bracket", "source", "label"),
    "start": ("name", "trial"),
    "rung": ("trial", "name", "epoch", "bracket", "rung", "cutoff", "peers", "value", "stop"),
    "promote": ("trial", "name", "epoch", "bracket", "rung"),
    "stop": ("trial", "name", "epoch", "state", "reason", "value", "objectives"),
    "fail": ("name", "trial", "kind"),
    "finish": ("name", "trial", "run_id", "epoch", "value", "objectives", "state"),
    "select": ("trials",),
    "race": ("trials",),
    "look": ("n", "unresolved", "more"),
    "noise": ("runs", "seeds"),
}  # fmt: skip
"""What a driver must find to continue the study."""


class Search(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    sampler: NotRequired[str]
    objectives: NotRequired[list[str]]
    top_k: NotRequired[Count]
    lag: NotRequired[Count]
    race: NotRequired[Count]
    seed: NotRequired[int | None]
    verdict: NotRequired[bool]
    warm_start: NotRequired[list[str]]
    choose: NotRequired[str]


class Stopping(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    rule: NotRequired[str]
    grace: NotRequired[Count]
    eta: NotRequired[Count]
    brackets: NotRequired[Count]
    together: NotRequired[bool]
    source: NotRequired[str]
    collapse_rank: NotRequired[Number]


class Info(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    study: str
    seeds: NotRequired[list[Count]]
    until: NotRequired[Count | None]
    noise_floor: NotRequired[Count]
    epochs: Count
    schema_version: NotRequired[int]
    preset: NotRequired[str]
    overrides: NotRequired[list[str]]
    search_seed: NotRequired[int]
    num_trials: NotRequired[Count]
    confirm: NotRequired[list[str]]
    ranges: NotRequired[dict[str, str]]
    rungs: NotRequired[list[Count]]
    probe_epochs: NotRequired[list[Count]]
    arms: NotRequired[list[dict[str, Any]]]
    search: NotRequired[Search | None]
    stopping: NotRequired[Stopping | None]
    limits: NotRequired[dict[str, Number | None] | None]
    resources: NotRequired[dict[str, Any] | None]
    gate: NotRequired[str | None]
    created: NotRequired[str]
    base_arm: NotRequired[str]
    base: NotRequired[dict[str, Any]]
    warm_from: NotRequired[list[dict[str, Any] | None]]


_LINE, _INFO = TypeAdapter(Line), TypeAdapter(Info)


def read_decisions(path: Path, engine: bool = False) -> list[dict[str, Any]]:
    """The lines of decisions.jsonl, each checked, and together: nothing may refer to what is not on record before it.

    Args:
        engine: a driver is to continue the study.

    Raises:
        RecordError: a damaged line, or one that does not follow from those before it.
        UsageError: a line of another version, or of no known event.
    """
    lines, known = [], _Known(engine)
    for number, line in numbered(path):
        event = line.get("event")
        if event not in EVENTS:
            what = "has no event" if event is None else f"event = {event!r} is none of {', '.join(EVENTS)}"
            raise UsageError(
                f"{path}, line {number}: {what}; was it written by a newer version? {REMEDY[0].upper()}{REMEDY[1:]}"
            )
        version = line.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise UsageError(f"{path}, line {number}: {foreign(version)}")
        check(path, number, line, _LINE, REMEDY)
        wanted = [*NEEDED.get(event, ()), *(ENGINE_NEEDED.get(event, ()) if engine else ())]
        problem = next((f"a {event} line has no {field}" for field in wanted if field not in line), None) or known.take(
            line
        )
        if problem:
            raise UsageError(f"{path}, line {number}: {problem}; {REMEDY}")
        lines.append(line)
    return lines


class _Known:
    """What the lines so far have introduced."""

    def __init__(self, engine: bool) -> None:
        self._engine = engine
        self._trials: dict[int, dict[str, Any]] = {}
        self._warm = 0

    def take(self, line: dict[str, Any]) -> str | None:
        """Note a line; returns what is wrong with it."""
        event, trial = line["event"], line.get("trial")
        if event == "warm":
            self._warm += 1
        elif event == "suggest":
            return self._suggested(trial, line)
        elif trial is not None and trial not in self._trials:
            return f"a {event} line of trial {trial}, which no suggest line before it introduced"
        elif event in ("select", "race") and "trials" in line:
            return self._selected(line)
        elif event == "compare" and len(line.get("runs") or []) != len(line.get("seeds") or []):
            return (
                f"arm {line['arm_id']} ({line['role']}) lists {len(line.get('runs') or [])} runs for"
                f" {len(line.get('seeds') or [])} seeds"
            )
        return None

    def _suggested(self, trial: int | None, line: dict[str, Any]) -> str | None:
        if trial is None:
            return "a suggest line without a trial's number"
        if trial in self._trials:
            # drivers of former versions could repeat themselves; a reader may pass that over
            same = all(line.get(name) == self._trials[trial].get(name) for name in line.keys() - {"t"})
            return None if same and not self._engine else f"trial {trial} is suggested a second time"
        if trial != len(self._trials):
            return (
                f"trial {trial} is suggested, but trial {len(self._trials)} was not: a line is missing or out of place"
            )
        self._trials[trial] = line
        return None

    def _selected(self, line: dict[str, Any]) -> str | None:
        columns = {name: len(line.get(name) or []) for name in ("trials", "values", "epochs")}
        if len(set(columns.values())) > 1:
            return (
                f"a {line['event']} line's "
                + ", ".join(f"{n} {name}" for name, n in columns.items())
                + " must be equally many"
            )
        if line.get("choose") == "smoothed":
            parts = [line.get(name) for name in ("by_smoothed", "by_raw", "fitted")]
            if not all(part and all(isinstance(one[0], int) for one in part) for part in parts):
                return "a select line by smoothed scores lacks the trials of by_smoothed, by_raw or fitted"
        unknown = [n for n in line["trials"] if not (n in self._trials if n >= 0 else -n <= self._warm)]
        return f"trial {unknown[0]} is selected, but was never suggested" if unknown else None


def foreign(version: Any) -> str:
    """What to say of a schema version that is not ours."""
    return (
        f"schema_version = {version!r}, this version of the code reads {SCHEMA_VERSION}; use the code that wrote it, or"
        f" {REMEDY}"
    )


def read_info(path: Path) -> dict[str, Any]:
    """The content of study.json, checked. Raises UsageError naming the file, the field and what to do."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; {REMEDY}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno} is not valid JSON ({error.msg}); {REMEDY}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not valid JSON; {REMEDY}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold one JSON object, not {type(content).__name__}; {REMEDY}")
    version = content.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise UsageError(f"{path}: {foreign(version)}")
    try:
        _INFO.validate_python(content)
    except ValidationError as error:
        raise UsageError(f"{path} is not a study's: {explain(error)}; {REMEDY}") from None
    return content
