"""Records in an object store: copied to a temporary folder, records alone, and named by their address all the same."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from trainer.errors import UsageError, one_line

FILES = ("study.json", "decisions.jsonl", "records.jsonl", "evaluation.jsonl")
"""What is copied: checkpoints and images stay where they are."""


def is_address(path: str | Path) -> bool:
    """Whether a path is an address, as ``s3://bucket/results``."""
    return "://" in str(path)


def fetched(address: str) -> Path:
    """A local folder (or file) with the records under an address; it is removed when the process ends.

    pyarrow reads the store, with the credentials it finds where AWS's own tools do; ``s3://anonymous@bucket/...`` uses
    none.

    Raises:
        UsageError: no such address, no permission, no connection, or names that would leave the folder.
    """
    from pyarrow import ArrowException, fs

    try:
        system, base = fs.FileSystem.from_uri(address.rstrip("/"))
        kind = system.get_file_info(base).type
        if kind == fs.FileType.NotFound:
            raise UsageError(f"{address}: there is nothing at this address; give that of a study or a results folder")
        found = [base] if kind == fs.FileType.File else _listed(system, base)
        target = Path(tempfile.mkdtemp(prefix="records-"))
        atexit.register(shutil.rmtree, target, ignore_errors=True)
        # the folder of a record has the run's name
        alone = PurePosixPath(base).name if kind == fs.FileType.File else ""
        top = target / ((PurePosixPath(base).parent if alone else PurePosixPath(base)).name or "records")
        top.mkdir(exist_ok=True)
        for path in found:
            inside = PurePosixPath(path).relative_to(base)
            if ".." in inside.parts:
                raise UsageError(f"{address}: the name {str(inside)!r} leads out of its folder; remove that object")
            copy = top / (alone or inside)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with system.open_input_stream(path) as source, copy.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (OSError, ValueError, ArrowException) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{address} cannot be read: {one_line(error)[:300]}; check the address, the credentials and the network"
        ) from None
    return top / alone


def renamed(rows: dict[str, list[dict[str, Any]]], copies: dict[str, str]) -> None:
    """Name rows by the address that they came from, not by the copy: ``{copy: address}``."""
    for lines in rows.values():
        for row in lines:
            for column in {"study", "source", "folder"} & row.keys():
                for copy, address in copies.items():
                    row[column] = row[column].replace(copy, address) if isinstance(row[column], str) else row[column]


def _listed(system: Any, base: str) -> list[str]:
    from pyarrow import fs

    infos = system.get_file_info(fs.FileSelector(base, recursive=True))
    return [one.path for one in infos if one.type == fs.FileType.File and one.base_name in FILES]
