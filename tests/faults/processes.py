"""Processes that belong to a driver, read from /proc: whose child, what is open, how much computed."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
_SET_CHILD_SUBREAPER = 36


@contextmanager
def adopting() -> Iterator[None]:
    """While this lasts, processes whose parent died become children of this one, not of process 1, as under a service
    manager."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this system has no PR_SET_CHILD_SUBREAPER")
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def below(*roots: int) -> set[int]:
    """All living processes that descend from one of ``roots``."""
    children: dict[int, list[int]] = {}
    for name in os.listdir(PROC):
        if name.isdigit() and (found := _stat(int(name))) is not None and found[0] != "Z":
            children.setdefault(int(found[1]), []).append(int(name))
    todo, seen = list(roots), set()
    while todo:
        new = set(children.get(todo.pop(), [])) - seen
        seen |= new
        todo += new
    return seen


def born(pid: int) -> str | None:
    """When a process began, which tells it from a later one of the same id; None if it is gone."""
    found = _stat(pid)
    return None if found is None or found[0] in "ZX" else found[19]


def environment(pid: int) -> bytes:
    """What a process was started with; nothing of one that has ended."""
    try:
        return (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def holding(path: Path, among: set[int]) -> int | None:
    """The process that has ``path`` open."""
    for pid in among:
        try:
            if any(os.readlink(entry) == str(path) for entry in os.scandir(PROC / str(pid) / "fd")):
                return pid
        except OSError:  # it ended, or closed the file, while we looked
            continue
    return None


def waiting_for_a_lock(among: set[int]) -> bool:
    """Whether one of these processes stands before a file lock that another holds."""
    waiting = [line.split() for line in (PROC / "locks").read_text().splitlines() if " -> " in line]
    return any(int(words[5]) in among for words in waiting)


def named(words: str, among: set[int]) -> list[int]:
    """Processes whose command line holds ``words``, in order of their ids."""
    return sorted(pid for pid in among if words in title(pid))


def title(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def computed(pid: int) -> float | None:
    """Seconds of processor time a process has used; None if it is gone."""
    found = _stat(pid)
    return None if found is None else (int(found[11]) + int(found[12])) / TICKS


def freeze(pid: int) -> bool:
    """Stop a process and wait until all its threads stand still; False if it is gone."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while not all(_state(task) in "TtZX" for task in (PROC / str(pid) / "task").iterdir()):
            time.sleep(0.0005)
        return _state(PROC / str(pid)) == "T"
    except OSError:
        return False


def thaw(pid: int) -> None:
    """Let a frozen process go on, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def kill(pid: int) -> None:
    """SIGKILL, and wait until the process is no more."""
    os.kill(pid, signal.SIGKILL)
    while _state(PROC / str(pid)) not in "ZX":
        time.sleep(0.002)


def _state(folder: Path) -> str:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; a name may hold blanks and brackets."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None
