"""TensorBoard event files: scalars in float32, by tag and step. They hold no settings."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.frames.columns import TENSORBOARD
from analysis.ingest.foreign import ForeignRun, sha256, within
from trainer.errors import UsageError

_PATTERN = "events.out.tfevents.*"
_FLOAT, _DOUBLE = 1, 2
_KEEPS = "float32 as TensorBoard keeps it; no settings; a writer may have dropped values that are not numbers"


def find(path: Path) -> list[Path]:
    """The folders of runs: each that holds event files, a few folders deep."""
    if path.is_file():
        return [path] if path.match(_PATTERN) else []
    return sorted({file.parent for file in within(path, _PATTERN)})


def read(path: Path) -> list[ForeignRun]:
    """The run of one folder: all its event files, one after the other; of one file that alone."""
    folder = path.parent if path.is_file() else path
    files = [path] if path.is_file() else sorted(folder.glob(_PATTERN))
    study, name = folder.resolve().parent.name, folder.resolve().name
    run = ForeignRun(TENSORBOARD, study, name, folder, " ".join(map(sha256, files)), caveats=[_KEEPS])
    last = -1
    for file in files:
        torn, lines = False, {}
        for event in _events(file):
            if event is None:
                torn = True
                continue
            metrics = {value.tag: number for value in event.summary.value if (number := _number(value)) is not None}
            for tag, number in metrics.items():
                # a tag that a step has twice, from two writers or after a restart, stands twice
                again = sum(tag in line["metrics"] for line in lines.get(event.step, []))
                of_step = lines.setdefault(event.step, [])
                if again == len(of_step):
                    of_step.append({"step": event.step, "metrics": {}})
                of_step[again]["metrics"][tag] = number
        found = [line for of_step in lines.values() for line in of_step]
        if lines and min(lines) <= last:
            run.caveats.append("steps of several files overlap: it was started again")
        if any(len(of_step) > 1 for of_step in lines.values()):
            run.caveats.append("a step has a tag twice in one file: two writers, or a restart")
        last = max([last, *lines])
        run.lines += found
        run.caveats += [f"{file.name} ends within a record"] if torn else []
    return [run]


def _events(file: Path) -> Iterator[Any]:
    """The events of a file (records with their length before them); None for one that is cut off at the end."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    raw, at = memoryview(file.read_bytes()), 0
    while at < len(raw):
        if at + 12 > len(raw):
            yield None
            return
        (length,) = struct.unpack_from("<Q", raw, at)
        if at + 16 + length > len(raw):
            yield None
            return
        try:
            yield Event.FromString(bytes(raw[at + 12 : at + 12 + length]))
        except DecodeError:
            raise UsageError(
                f"{file}: byte {at} begins no event of TensorBoard; restore the file from a copy"
            ) from None
        at += 16 + length


def _number(value: Any) -> float | None:
    """A scalar, as old writers and as TensorFlow 2 store it; None for everything else."""
    if value.HasField("simple_value"):
        return value.simple_value
    tensor = value.tensor
    if not value.HasField("tensor") or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    kind, values = {_FLOAT: ("<f", tensor.float_val), _DOUBLE: ("<d", tensor.double_val)}.get(tensor.dtype, ("", ()))
    if kind and len(values) == 1:
        return float(values[0])
    content = tensor.tensor_content
    return struct.unpack(kind, content)[0] if kind and len(content) == struct.calcsize(kind) else None
