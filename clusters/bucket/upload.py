"""A study's folder to a bucket, so that the copy is at every moment one from which the study can go on.

Objects cannot be appended to, so a file that grows is sent whole, up to its last complete line. It replaces only what
it continues. Decisions name runs, and a run's record says more than its checkpoint: so a look at the decisions comes
first, then checkpoints are sent, then records, and last the decisions as they were.
"""

from __future__ import annotations

from pathlib import Path

from clusters.bucket.store import STUDY, BucketError, Store

DECISIONS = "decisions.jsonl"


class Upload:
    """One folder and one address, of which this is the only writer.

    Args:
        checkpoints: send them too: unfinished runs go on where they were, and much more is sent.
    """

    def __init__(self, folder: Path, store: Store, checkpoints: bool = False):
        self.folder, self.store, self._checkpoints = folder, store, checkpoints
        self._sent: dict[str, int] = {}
        """Bytes of each object as this process left or found it."""
        self._stamp: dict[str, tuple[int, int]] = {}

    def once(self) -> list[str]:
        """Send what is new; its names, in the order of sending.

        Raises:
            BucketError: the bucket holds another study, is ahead of this folder, or has another writer.
            Unreachable: it cannot be reached; what was sent is whole, and the next call goes on.
        """
        there = self.store.sizes()
        decided = complete(self.folder / DECISIONS)
        sent = []
        for name in self._names():
            file = self.folder / name
            stamp = _stamp(file)
            if name != DECISIONS and (stamp is None or self._stamp.get(name) == stamp):
                continue
            data = decided if name == DECISIONS else complete(file) if name.endswith(".jsonl") else _read(file)
            if data is None or (name.endswith(".jsonl") and not self._continues(name, data, there.get(name))):
                continue
            self.store.write(name, data)
            self._sent[name] = len(data)
            sent.append(name)
            if stamp:
                self._stamp[name] = stamp
        return sent

    def differences(self) -> list[str]:
        """Names that are not in the bucket as they are here; records are read back, checkpoints compared in size."""
        there = self.store.sizes()
        wrong = []
        for name in self._names():
            here = complete(self.folder / name) if name.endswith(".jsonl") else _read(self.folder / name)
            if here and (there.get(name) != len(here) or (not name.endswith(".pt") and self.store.read(name) != here)):
                wrong.append(name)
        return wrong

    def _names(self) -> list[str]:
        """In the order of sending."""
        files = (str(p.relative_to(self.folder)) for p in self.folder.glob("runs/*/*"))
        tops = (str(p.relative_to(self.folder)) for pattern in ("*", "report/*") for p in self.folder.glob(pattern))
        names = sorted(name for name in (*files, *tops) if STUDY.fullmatch(name))
        if not self._checkpoints:
            names = [name for name in names if not name.endswith(".pt")]
        rank = {"study.json": 0, DECISIONS: 3}
        return sorted(names, key=lambda name: rank.get(name, 1 if name.endswith(".pt") else 2))

    def _continues(self, name: str, data: bytes, size: int | None) -> bool:
        """Whether there is something to send."""
        if name in self._sent:
            if size != self._sent[name]:
                raise BucketError(
                    f"{self.store.address}/{name} was changed by another writer: one study, one machine; end the other "
                    "one, or give this one an address of its own"
                )
            if len(data) < self._sent[name]:
                raise BucketError(f"{self.folder / name} has become shorter; its copy in the bucket is left as it is")
            return len(data) > self._sent[name]
        if size is not None:
            old = self.store.read(name)
            if old != data[: len(old)]:
                ahead = old.startswith(data)
                raise BucketError(
                    f"{self.store.address}/{name} is {'ahead of' if ahead else 'of another study than'} {self.folder}; "
                    + ("fetch it first: python -m clusters.bucket pull" if ahead else "give an address of its own")
                )
            self._sent[name] = len(old)
        return len(data) > self._sent.get(name, 0)


def complete(file: Path) -> bytes | None:
    """A file up to its last complete line: what a writer is in the middle of is left for later. None: no file."""
    data = _read(file)
    return None if data is None else data[: data.rfind(b"\n") + 1]


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None  # replaced or removed between two looks


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
