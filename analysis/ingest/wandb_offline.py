"""Folders that W&B writes without a network: ``run-<id>.wandb``, records of protobuf in LevelDB's log format."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.frames.columns import WANDB
from analysis.ingest.foreign import ForeignRun, Numbers, sha256, whole, whole_epoch, within
from trainer.errors import UsageError

_IDENT, _BLOCK, _HEADER = b":W&B", 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_OWN = "_"
"""Names that begin so are W&B's own (``_step``, ``_runtime``, ``_timestamp``)."""


def find(path: Path) -> list[Path]:
    """The run files that a path is or holds, a few folders deep."""
    if path.is_file():
        return [path] if path.suffix == ".wandb" else []
    return [file for file in within(path, "run-*.wandb") if not file.parent.is_symlink()]  # latest-run is a link


def read(path: Path) -> list[ForeignRun]:
    """The run of one file."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    numbers, run, ended = Numbers(), None, None
    lines: list[dict[str, Any]] = []
    for raw in _records(path):
        if raw is None:
            break
        try:
            record = Record.FromString(raw)
        except DecodeError:
            raise UsageError(f"{path} holds no record of W&B; restore the file from a copy") from None
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = _run(path, record.run)
        elif kind == "history":
            lines.append(_line(record.history, numbers))
        elif kind == "exit":
            ended = record.exit
    if run is None:
        run = ForeignRun(WANDB, path.parent.name, path.stem, path, sha256(path), caveats=["no run is on record"])
    run.lines = lines
    if ended is None:
        run.caveats.append("no end on record: it was killed, or it runs")
    run.about["state"] = "unfinished" if ended is None else "failed" if ended.exit_code else "complete"
    run.about["seconds"] = ended.runtime if ended is not None else None
    run.caveats += numbers.caveats()
    return [run]


def _run(path: Path, record: Any) -> ForeignRun:
    settings: dict[str, Any] = {}
    for update in record.config.update:
        value = _json(update.value_json)
        *parents, name = list(update.nested_key) or [update.key]
        node = settings
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        if not (node is settings and name.startswith("_wandb")):
            node[name] = value
    run = ForeignRun(
        WANDB, record.project or path.parent.name, record.run_id or path.stem, path, sha256(path), settings
    )
    run.about = {"host": record.host or None, "arm": record.display_name or record.run_id}
    run.about["commit"] = record.git.commit or None
    return run


def _line(history: Any, numbers: Numbers) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in history.item:
        name = "/".join(item.nested_key) or item.key
        values[name] = _json(item.value_json)
    step = values.pop("_step", None)
    metrics = numbers.of({name: value for name, value in values.items() if not name.startswith(_OWN)})
    step = whole(step) if whole(step) is not None else history.step.num if history.HasField("step") else None
    return {"step": step, "epoch": whole_epoch(metrics), "metrics": metrics}


def _json(text: str) -> Any:
    """A value; Python writes what is not a number as bare NaN and Infinity, which it also reads."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _records(path: Path) -> Iterator[bytes | None]:
    """The records of a file; None where it ends within one, as it does while it is written.

    Raises:
        UsageError: it is no such file, or a record is damaged.
    """
    raw = path.read_bytes()
    if raw[:4] != _IDENT or len(raw) < _HEADER:
        raise UsageError(f"{path} is not a run file of W&B; give the folder that holds run-<id>.wandb")
    at, parts = _HEADER, []
    while at < len(raw):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:  # too short for a header: filled up
            at += left
            continue
        if at + _HEADER > len(raw):
            yield None
            return
        crc, length, kind = struct.unpack_from("<IHB", raw, at)
        part = raw[at + _HEADER : at + _HEADER + length]
        if len(part) < length:
            yield None
            return
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or zlib.crc32(part, zlib.crc32(bytes([kind]))) != crc:
            raise UsageError(f"{path}: the record at byte {at} is damaged; restore the file from a copy")
        parts.append(part)
        at += _HEADER + length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
    if parts:
        yield None
