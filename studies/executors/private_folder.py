"""A study's own folder for what Ray and Tune write: token, sessions, logs, sockets. Nobody else can look into it.

Ray makes its own folders writable for everyone; here they lie below one that only this user can enter, and they go with
the driver. What a killed driver left is removed by the next one: its lock is free then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import UsageError

PREFIX = "sj-"
RAY, TUNE, TOKEN, LOCK = "r", "tune", "token", "lock"
# Ray's sockets lie in a folder of this form below the temporary one; a path of more than 107 bytes is refused
SOCKET = f"/{PREFIX}12345678/{RAY}/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
LONGEST_SOCKET = 107
SYSTEM_TEMPORARY = Path("/tmp")
# Ray keeps the first token a process reads, so all studies of one process share theirs
_TOKEN = secrets.token_hex(32)


def socket_bytes(folder: Path) -> int:
    """Length of the longest socket path below a temporary folder."""
    return len(os.fsencode(str(folder))) + len(SOCKET)


def fault(folder: Path) -> str | None:
    """Why Ray's files cannot lie below this folder; None if they can."""
    length = socket_bytes(folder)
    if length > LONGEST_SOCKET:
        return f"Ray's sockets would have {length}-byte paths, {LONGEST_SOCKET} are allowed"
    if not str(folder).isascii():
        return "Ray starts below no path with letters beyond ASCII"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return "not a folder that Ray could write to"
    return None


def base(environment: Mapping[str, str]) -> Path:
    """The temporary folder to use: RAY_TMPDIR if it is set, else TMPDIR if Ray's files can lie there, else /tmp."""
    if environment.get("RAY_TMPDIR"):
        return Path(environment["RAY_TMPDIR"])
    wished = Path(environment.get("TMPDIR") or SYSTEM_TEMPORARY)
    return wished if fault(wished) is None else SYSTEM_TEMPORARY


@contextmanager
def private_folder(environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """A fresh folder with a token in it, removed afterwards.

    Raises:
        UsageError: no temporary folder can be used.
    """
    place = base(environment)
    if why := fault(place):
        raise UsageError(
            f"temporary folder {place}: {why}; set RAY_TMPDIR to a folder with a short plain path that you can write"
            " to, such as /tmp"
        )
    _remove_left(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))  # mode 700
    try:
        with open(folder / "locking", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "locking").rename(folder / LOCK)  # held from its first moment on
            (folder / RAY).mkdir()
            (folder / TUNE).mkdir()
            write_private(folder / TOKEN, _TOKEN)
            yield folder
    finally:
        end_left(folder)  # after a start that was interrupted twice: Ray's agents live on, and make the folder again
        for _ in range(20):  # what ends by itself writes to its logs until then
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
        else:
            with contextlib.suppress(OSError):
                (folder / LOCK).touch()  # what is still written there is the next driver's to remove


def write_private(path: Path, text: str) -> None:
    """Write a new file that only this user can read, from its first moment on."""
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def end_left(folder: Path, proc: Path = Path("/proc")) -> list[int]:
    """Kill the processes of a Ray whose servers died: what writes into the folder belongs to it and to nothing else.

    By their open files: Ray's agents rename themselves, which overwrites their command line and environment.
    """
    ended = []
    for process in proc.iterdir() if proc.is_dir() else ():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
                if any(_open_file(entry).startswith(f"{folder}/") for entry in os.scandir(process / "fd")):
                    os.kill(int(process.name), signal.SIGKILL)
                    ended.append(int(process.name))
    return ended


def _open_file(entry: os.DirEntry[str]) -> str:
    try:
        return os.readlink(entry)
    except OSError:  # closed meanwhile
        return ""


def is_private(path: str) -> bool:
    """Whether a path lies in the folder of some study."""
    return any(part.startswith(PREFIX) and len(part) == len(PREFIX) + 8 for part in Path(path).parts)


def _remove_left(place: Path) -> None:
    """Remove this user's folders whose driver is gone, and what still runs in them."""
    for folder in place.glob(f"{PREFIX}????????"):
        with contextlib.suppress(OSError):  # another user's, in use, or removed meanwhile by another driver
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with open(folder / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end_left(folder)  # of a driver killed while Ray started, its agents and workers wait for minutes
                shutil.rmtree(folder, ignore_errors=True)
