"""One process at a time: a lock that the system drops when its holder dies, however it dies.

Every writer of a folder holds one: a driver its study, a process that trains its run, an evaluation its file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from trainer.errors import RecordError, UsageError

NAME = ".lock"


class Lock:
    """Holds ``path`` until :meth:`close`, as a context until its end.

    Args:
        path: a file of its own; it names its holder and stays when the lock is gone.
        busy: what to say, with what to do, when another process holds it; ``{who}`` stands for that process.
        wait: until it is free, instead of saying so.

    Raises:
        UsageError: another process holds it; on a shared file system possibly on another machine.
        RecordError: the file system has no locks.
    """

    def __init__(self, path: Path, busy: str, wait: bool = False):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            self._file.seek(0)
            who = self._file.read(200).strip() or "a process that left no name"
            self._file.close()
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise UsageError(busy.format(who=who)) from None
            raise RecordError(
                f"{path}: this file system refuses locks (flock: {error.strerror}), and without one two processes could"
                " write one record; put the results on a disk of this machine, or mount the share with locks (NFS:"
                f" version 4, or without nolock); python -m studies doctor --results-dir {path.parent} tries it"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
