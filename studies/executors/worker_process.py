"""One training process of this machine, and the socket over which it takes tasks and reports.

The other side is :mod:`trainer.workers.process_worker`.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from studies.executors.gpu_slots import VISIBLE

ROOT = Path(__file__).resolve().parent.parent.parent
# -P: the current folder stays off the path, where a user's own ``trainer.py`` would stand for ours
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from trainer.workers.process_worker import main; main(int(sys.argv[2]))"
)
LAST_LINES = 20


class WorkerProcess:
    """Starts at once, and imports torch before its first task comes.

    Args:
        environment: what it is given of the user's.
        gpus: its CUDA_VISIBLE_DEVICES, None to leave that as it is.
        threads: of libraries that ask OMP_NUM_THREADS, where the user has not set it.
    """

    def __init__(self, environment: Mapping[str, str], gpus: str | None, threads: int):
        self._log, self._rest = tempfile.TemporaryFile(), b""  # what it prints; nameless, and gone with both
        self._channel, theirs = socket.socketpair()
        given = {"OMP_NUM_THREADS": str(threads), **environment, **({VISIBLE: gpus} if gpus is not None else {})}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(ROOT), str(theirs.fileno())],
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the driver's to heed
            )

    def fileno(self) -> int:
        return self._channel.fileno()

    def send(self, message: dict[str, Any]) -> None:
        with suppress(ConnectionError):  # it died; the next read says so
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """What it said since, where there is something to read, and whether it can say more."""
        try:
            data = self._channel.recv(65536)
        except ConnectionError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], bool(data)

    def kill(self) -> None:
        """End the process, however it stands; returns when it is gone."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def death(self) -> str:
        """How a process ended that has gone by itself."""
        code = self._process.wait()
        self._channel.close()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def last_words(self) -> str:
        """The end of what it printed."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-LAST_LINES:])
