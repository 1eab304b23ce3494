"""A study from a bucket into a folder, where ``--resume`` goes on with it."""

from __future__ import annotations

from pathlib import Path

from clusters.bucket.store import BucketError, Store
from clusters.bucket.upload import DECISIONS, complete


def fetched(store: Store, folder: Path) -> list[str]:
    """Fetch what the bucket has more of; the names of what came.

    A file that grows is taken if it continues the one here, and left if the one here continues it. Decisions come last,
    so that none names a record that is not there yet.

    Raises:
        BucketError: a file there and the one here do not continue each other.
    """
    sizes = store.sizes()
    names = sorted((n for n in sizes if not n.startswith("report/")), key=lambda n: (n == DECISIONS, n))
    taken: list[str] = []
    newer: dict[str, bytes] = {}
    for name in (n for n in names if n.endswith(".jsonl")):
        here, there = complete(folder / name) or b"", store.read(name)
        if there.startswith(here):
            if len(there) > len(here):
                newer[name] = there
        elif not here.startswith(there):
            raise BucketError(f"{folder / name} and {store.address}/{name} are of different studies; keep them apart")
    for name in names:
        record = f"{name.rpartition('/')[0]}/records.jsonl"
        if not name.endswith(".jsonl") and (not (folder / name).exists() or record in newer):
            _write(folder / name, store.read(name))
            taken.append(name)
    for name, there in newer.items():
        _write(folder / name, there)
    return [*taken, *newer]


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(data)
    partial.replace(file)
