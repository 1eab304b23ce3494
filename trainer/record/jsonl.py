"""Files of one JSON object per line: read strictly, appended durably, repaired where a kill tore the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainer.errors import RecordError

RESTORE = "restore the file from a copy"


class Appender:
    """Appends lines durably: each is on the disk when :meth:`append` returns.

    Attributes:
        repaired: the torn last line, left by a kill, that was cut off on opening, or None.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.repaired = cut_torn_line(path)
        self._file = path.open("ab", buffering=0)
        sync_folder(path.parent)

    def append(self, line: dict[str, Any]) -> None:
        """Write one line.

        Raises:
            OSError: the disk is full or not writable, with the file's name; what was written of the line is taken back.
        """
        raw = json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        written = 0
        try:
            while written < len(raw):  # a disk that is nearly full takes a part
                written += self._file.write(raw[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            if written:
                with suppress(OSError):
                    os.ftruncate(self._file.fileno(), os.fstat(self._file.fileno()).st_size - written)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file, nothing if there is none; a torn last line is passed over.

    Raises:
        RecordError: another line is not one JSON object in UTF-8.
    """
    return (line for _, line in numbered(path))


def numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The same with the number of each line, from 1."""
    return ((number, parse(path, number, raw)) for number, raw in raw_lines(path))


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines as they stand in the file, with their numbers, for :func:`parse`; without a torn last one."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    *whole, rest = raw.split(b"\n")
    yield from enumerate(whole, start=1)
    if _complete(rest):
        yield len(whole) + 1, rest
    elif rest:
        _refuse_unless_torn(path, len(whole) + 1, rest)


def check(path: Path, number: int, line: dict[str, Any], form: TypeAdapter, remedy: str = RESTORE) -> None:
    """Refuse a line whose fields do not have the declared types.

    Raises:
        RecordError: names file, line, field, value and rule.
    """
    try:
        form.validate_python(line)
    except ValidationError as error:
        raise RecordError(f"{path}, line {number}: {explain(error)}; {remedy}") from None


def explain(error: ValidationError) -> str:
    """The first thing that a validation found, in one sentence with field, value and rule."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{where} is missing"
    shown = repr(first["input"])
    rule = first["msg"][0].lower() + first["msg"][1:]
    return f"{where} = {shown if len(shown) <= 60 else shown[:57] + '...'}: {rule}"


def cut_torn_line(path: Path) -> str | None:
    """Cut off what a kill left of a last line; returns it. A whole line that only lacks its end is given one.

    Raises:
        RecordError: what stands there is no beginning of a line of ours.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    end = raw.rfind(b"\n") + 1
    rest = raw[end:]
    if not rest:
        return None
    if not _complete(rest):
        _refuse_unless_torn(path, raw.count(b"\n") + 1, rest)
    with path.open("r+b") as file:
        if _complete(rest):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            file.flush()
        else:
            file.truncate(end)
        os.fsync(file.fileno())
    return None if _complete(rest) else rest.decode(errors="replace")


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    """The object of a line. Raises RecordError for anything else."""
    try:
        line = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        why = f"not UTF-8 text (byte {error.start + 1})"
    except json.JSONDecodeError as error:
        why = f"not valid JSON ({error.msg})"
    except RecursionError:
        why = "not valid JSON (nested too deeply)"
    except ValueError as error:
        why = f"not valid JSON ({error})"
    else:
        if isinstance(line, dict):
            return line
        why = f"must be one JSON object, not {type(line).__name__}"
    raise RecordError(f"{path}, line {number}: {why}; {RESTORE}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _complete(rest: bytes) -> bool:
    """Whether text without a line's end is a whole line: no part of an object is one."""
    try:
        return bool(rest) and isinstance(_DECODER.decode(rest.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def _refuse_unless_torn(path: Path, number: int, rest: bytes) -> None:
    """Refuse text that cannot be what a kill, or a loss of power (zero bytes), left of one of our lines."""
    text = rest.rstrip(b"\0")
    if text[:2] != b'{"'[: len(text)] or b"\r" in text or b"\0" in text:
        raise RecordError(f"{path}, line {number}: not JSON lines in UTF-8; {RESTORE}")
