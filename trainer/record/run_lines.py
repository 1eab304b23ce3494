"""The form of a line in a run's record, and its reader. :mod:`trainer.record.run` says what the fields mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from trainer.errors import RecordError
from trainer.record.jsonl import check, parse, raw_lines

SCHEMA_VERSION = 1
EVENTS = ("epoch", "eval", "stop", "error", "resume")
REMEDY = "restore the file from a copy, or delete the run's folder and continue the study, which trains it again"

_FORM = ConfigDict(extra="allow", strict=True)
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Times = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


class Family(TypedDict):
    """Of a family whose code lies outside ours."""

    __pydantic_config__ = _FORM  # type: ignore[misc]
    name: str
    code: str


class Provenance(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    code: NotRequired[str | None]
    processor: NotRequired[str]
    family: NotRequired[Family]


class Data(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    observed_views: NotRequired[Count]


class Config(TypedDict):
    """What readers use of a configuration; the trainer builds the whole."""

    __pydantic_config__ = _FORM  # type: ignore[misc]
    data: NotRequired[Data]
    epochs: NotRequired[Count]
    schedule: NotRequired[dict[str, Any]]


class GateResult(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    gate: str
    passed: bool


class Line(TypedDict):
    __pydantic_config__ = _FORM  # type: ignore[misc]
    schema_version: Literal[1]
    event: Literal["epoch", "eval", "stop", "error", "resume"]
    run_id: str
    arm_id: str
    seed: Count
    metrics: dict[str, Number | None]
    study: NotRequired[str]
    attempt: NotRequired[Annotated[int, Field(ge=1)]]
    step: NotRequired[Count]
    samples_seen: NotRequired[Count]
    epoch: NotRequired[Count | None]
    probe_epoch: NotRequired[Count | None]
    split: NotRequired[Literal["train", "validation", "test"] | None]
    reason: NotRequired[str]
    gate: NotRequired[GateResult | None]
    seconds: NotRequired[Times]
    core_seconds: NotRequired[Times]
    parameters: NotRequired[dict[str, Count]]
    config: NotRequired[Config]
    provenance: NotRequired[Provenance]


def parts_in_words(parameters: Mapping[str, int]) -> str:
    """``encoder 21,016, aggregator 56,688`` of a line's ``parameters``; "" of none, as in older records."""
    return ", ".join(f"{name} {number:,}" for name, number in parameters.items() if name != "total")


_LINE = TypeAdapter(Line)


def read_run(path: Path, run_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a run's record, each checked; a torn last line is passed over.

    Args:
        run_id: whose record it must be; None where a file may hold several runs.

    Raises:
        RecordError: a damaged line, one of another version or of another run.
    """
    for number, raw in raw_lines(path):
        line = _at_once(raw) or _step_by_step(path, number, raw)
        if run_id is not None and line["run_id"] != run_id:
            raise RecordError(
                f"{path}, line {number}: run_id = {line['run_id']!r}, but this is the folder of run {run_id}; give the"
                f" folder its name back, {REMEDY}"
            )
        yield line


def _at_once(raw: bytes) -> dict[str, Any] | None:
    """A line parsed and checked in one pass, a third of the time of two; None for one that needs a closer look."""
    if b"NaN" in raw or b"Infinity" in raw:  # which that parser takes for numbers
        return None
    try:
        line = _LINE.validate_json(raw)
    except ValidationError:
        return None
    return line if line["event"] not in ("stop", "error") or "reason" in line else None  # type: ignore[return-value]


def _step_by_step(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    line = parse(path, number, raw)
    check_line(path, number, line)
    return line


def check_line(path: Path, number: int, line: dict[str, Any]) -> None:
    """Refuse a line that is not of this form. Raises RecordError."""
    version = line.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}, line {number}: schema_version = {version!r}, this version of the code reads {SCHEMA_VERSION}; "
            "read it with the code that wrote it, or restore the file from a copy"
        )
    check(path, number, line, _LINE, REMEDY)
    if line["event"] in ("stop", "error") and "reason" not in line:
        raise RecordError(f"{path}, line {number}: reason is missing; {REMEDY}")
