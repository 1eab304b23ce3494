"""Processes of their own that begin with torch and the trainer imported: forked from a server that imported them once,
which takes two seconds of a processor for each process that is started anew."""

from __future__ import annotations

import os
import sys
import tempfile
from multiprocessing.connection import Connection

import torch.multiprocessing as mp

CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainer.__main__", "trainer.loop", "trainer.families.seq_jepa.probing.suite"])


def _run(words: list[str]) -> None:
    from trainer.__main__ import main

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.exit(main(words))


class Program:
    """A Python program in a process of its own, as ``subprocess.Popen([sys.executable, "-c", text])`` with three pipes.

    Args:
        environment: variables that differ from those of this process when it forked its first.
    """

    def __init__(self, text: str, environment: dict[str, str]):
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(3)]
        (theirs_in, ours_in), *others = pipes
        self._process = CONTEXT.Process(
            target=_execute, args=(text, environment, theirs_in, *(end for _, end in others))
        )
        self._process.start()
        self.stdin = os.fdopen(os.dup(ours_in.fileno()), "w")
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno())) for end, _ in others)
        for pipe in pipes:
            for end in pipe:
                end.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def finished(self) -> tuple[int, list[str], str]:
        """Exit code, lines of stdout and all of stderr, once it has ended: each fits its pipe."""
        self.stdin.close()
        self._process.join(120)
        found = self._process.exitcode, self.stdout.read().splitlines(), self.stderr.read()
        self.stdout.close()
        self.stderr.close()
        return found


def _execute(text: str, environment: dict[str, str], *pipes: Connection) -> None:
    for stream, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), stream)
        pipe.close()
    sys.stdin = os.fdopen(0)
    os.environ.update(environment)
    tempfile.tempdir = None
    exec(compile(text, "program", "exec"), {"__name__": "__main__"})


def trainer(words: list[str]) -> mp.Process:
    """``python -m trainer WORDS`` without its output."""
    process = CONTEXT.Process(target=_run, args=(words,))
    process.start()
    return process
