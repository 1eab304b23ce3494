"""A training process of a study without Ray: takes tasks over a socket, one after the other, and tells their reports.

Lines of JSON. In: ``{"task": …}``, and after every report ``{"go": true}`` or ``{"go": false}``. Out: ``{"report":
…}``, ``{"end": true}``, ``{"failure": …}`` (:mod:`trainer.workers.failure`), after which the process ends: who knows
what the exception left behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from queue import SimpleQueue
from typing import Any

from trainer.redaction import redact
from trainer.workers.failure import describe
from trainer.workers.parent import die_with_parent
from trainer.workers.task import run_task


class Stopped(BaseException):
    """The study ends the run at the epoch it just reported: no error, and none on its record."""


def main(handle: int) -> None:
    """Serve the driver at the other end of the socket with this number, until it goes away."""
    die_with_parent()
    os.set_inheritable(handle, False)  # a mirror's process would hold it open
    channel, inbox = socket.socket(fileno=handle), SimpleQueue()
    threading.Thread(target=_listen, args=(channel, inbox), name="driver", daemon=True).start()
    import trainer.loop  # noqa: F401  (takes seconds: while the driver still reads its record)

    while _serve(inbox.get()["task"], channel, inbox):
        pass


def _serve(task: dict[str, Any], channel: socket.socket, inbox: SimpleQueue) -> bool:
    """Run one task; False if nothing more may run here."""

    def report(metrics: dict[str, Any]) -> None:
        _send(channel, {"report": metrics})
        if not inbox.get()["go"]:
            raise Stopped

    try:
        run_task(task, report)
    except Stopped:
        pass
    except Exception as error:
        _send(channel, {"failure": describe(error, lambda text: redact(text, task["secrets"]))})
        return False
    _send(channel, {"end": True})
    return True


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def _listen(channel: socket.socket, inbox: SimpleQueue) -> None:
    with channel.makefile("rb") as lines:
        for line in lines:
            inbox.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGKILL)  # the driver is gone; whatever trains here must not outlive it
