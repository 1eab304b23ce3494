"""Disk space, and whether the results folder keeps what the records rely on: sync, atomic replacement, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from studies.doctor.finding import GB, Finding, fail, ok, warn
from studies.executors import private_folder
from trainer.command.results import nearest
from trainer.record.run import write_json

NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "lustre",
    "beegfs",
    "gpfs",
    "glusterfs",
    "afs",
    "virtiofs",
)
VANISHING = {
    "tmpfs": "it is memory: the results are gone after a restart",
    "ramfs": "it is memory: the results are gone after a restart",
    "overlay": "it is the container's own layer: the results go with the container",
}


def space(what: str, folder: Path, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Finding:
    """Free space of the disk that ``folder`` is or will be on; ``what`` is ``results`` or ``temp``."""
    total, _, free = usage(nearest(folder.absolute()))
    found = f"{free / GB:.1f} of {total / GB:.0f} GB free in {folder}"
    move = "choose another --results-dir" if what == "results" else "set RAY_TMPDIR to another disk"
    if free < 0.5 * GB:
        why = "records and checkpoints could not be written" if what == "results" else "Ray could not write its files"
        return fail(what, found, why, f"free some, or {move}")
    if what == "temp" and free < 0.05 * total:
        return warn(what, found, "Ray refuses to spill objects to a disk that is 95 % full", f"free some, or {move}")
    if free < 5 * GB:
        why = (
            "each ResNet-18 run keeps a checkpoint of about 0.2 GB"
            if what == "results"
            else "Ray keeps its logs there and spills there"
        )
        return warn(what, found, why, f"free some, or {move}")
    return ok(what, found)


def temp_folder() -> Path:
    """Where a study puts Ray's sessions: RAY_TMPDIR, TMPDIR if its path is short enough, or /tmp."""
    return private_folder.base(os.environ)


def temp_path(folder: Path) -> Finding:
    """Whether Ray's files and sockets can lie below the temporary folder."""
    why = private_folder.fault(folder)
    if why is not None:
        return fail("temp", str(folder), why, "set RAY_TMPDIR=/tmp")
    return ok("temp", f"{folder} can be written, and its path is short enough for Ray's sockets")


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Type of the file system that holds ``folder``, or None where the system does not tell."""
    place, best = nearest(folder.absolute()).resolve(), (-1, None)
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        if after and (place == point or point in place.parents) and len(point.parts) >= best[0]:
            best = (len(point.parts), after.split()[0])  # a later mount of the same place covers the earlier one
    return best[1]


def try_folder(folder: Path) -> str | None:
    """Use a folder as the records do, below its nearest existing parent; what does not work, or None. Leaves
    nothing."""
    above = nearest(folder.absolute())
    if not above.is_dir():
        return f"{above} is a file, not a folder"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=above) as name:
            probe = Path(name) / "probe.json"
            write_json(probe, {})
            write_json(probe, {"replaced": True})  # synced, then renamed over the first
            return _lock_fault(probe)
    except OSError as error:
        return f"{errno.errorcode.get(error.errno or 0, 'error')}, {error.strerror or error}"


def _lock_fault(path: Path) -> str | None:
    with path.open() as first, path.open() as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"flock is refused ({error.strerror})"
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return "flock does not keep a second process out"


def results(
    folder: Path, kind: str | None, cluster: bool, attempt: Callable[[Path], str | None] = try_folder
) -> Finding:
    """Whether records can be kept in ``folder``.

    Args:
        kind: type of its file system.
        cluster: whether other machines must see it.
        attempt: what uses it.
    """
    fault = attempt(folder)
    choose = "choose another --results-dir"
    if fault is not None:
        return fail("results", f"{folder}, {fault}", "records need sync, rename and locks", choose)
    network = kind is not None and (kind in NETWORK or kind.startswith("fuse"))
    works = "write, sync, rename and lock work"
    if kind in VANISHING:
        return warn("results", f"{folder} is on {kind}", VANISHING[kind], f"{choose} on a disk or a mounted volume")
    if network and not cluster:
        why = "locks may not hold between machines"
        return warn(
            "results", f"{folder} is on {kind}", why, "run a study from one machine only; a local disk is safer"
        )
    return ok("results", f"{folder}{f' on {kind}' if kind else ''}: {works}")
