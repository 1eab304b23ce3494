"""Notices that Ray itself is gone: its node on this machine, or the server that holds the cluster together.

Ray tells a driver nothing of a dead raylet, and of a dead gcs_server only by ending the process with a line of C++. So
a thread knocks at both. What it finds is raised where the study looks around; if the study is stuck inside Ray and does
not look, the thread ends the process itself, with everything on record.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

from studies.command.exit_codes import LOST_CLUSTER

EVERY_SECONDS = 2.0
SILENT_SECONDS = 12.0
"""Nothing answered for as long: a restart of the network is over by then, Ray's own patience is 60."""
STUCK_SECONDS = 20.0
Place = tuple[str, int]


class ClusterLost(Exception):
    """Ray or its cluster went away: no trial's fault; what is on record stands.

    Attributes:
        stuck: whether Ray hangs in this process too, so that only the system can end it.
    """

    stuck = False


class Lifeline:
    """Use as a context manager around what needs Ray.

    Args:
        places: what must answer: words for it, and where it listens.
        last_words: said to the user before the process is ended from here.
        end: ends the process with an exit code.
    """

    def __init__(
        self,
        places: dict[str, Place],
        last_words: Callable[[str], None],
        end: Callable[[int], None] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._places, self._last_words, self._end, self._clock = places, last_words, end, clock
        self._lost: str | None = None
        self._heeded = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)

    def __enter__(self) -> Lifeline:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._heeded.set()
        self._over.set()

    def check(self) -> None:
        """Raise ClusterLost if Ray is gone."""
        if self._lost is not None:
            self._heeded.set()
            raise ClusterLost(self._lost)

    def gone_now(self) -> str | None:
        """What does not answer at this moment; asked when a trial died, which a dying cluster takes with it."""
        return next(
            (
                f"{what} does not answer at {host}:{port}"
                for what, (host, port) in self._places.items()
                if not answers(host, port)
            ),
            None,
        )

    def _watch(self) -> None:
        silent_since = None
        while not self._over.wait(EVERY_SECONDS):
            before = self._clock()
            missing = self.gone_now()
            if missing is None:
                silent_since = None
                continue
            silent_since = before if silent_since is None else silent_since
            if self._clock() - silent_since >= SILENT_SECONDS:
                self._lost = missing
                break
        if self._lost is not None and not self._heeded.wait(STUCK_SECONDS):
            self._last_words(self._lost)
            sys.stdout.flush()
            sys.stderr.flush()
            self._end(LOST_CLUSTER)


def within(seconds: float, action: Callable[[], object]) -> bool:
    """Do something that may hang; False if it did not end in time and goes on in its thread."""
    thread = threading.Thread(target=action, name="within", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def answers(host: str, port: int, seconds: float = 5.0) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError:
        return False
    return True
