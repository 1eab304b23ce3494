"""Processes of their own that begin with torch and the trainer imported: forked from a server that imported them once,
which takes two seconds of a processor for each process that is started anew."""

from __future__ import annotations

import os
import sys

import torch.multiprocessing as mp

CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trainer.__main__", "trainer.loop", "trainer.families.seq_jepa.probing.suite"])


def _run(words: list[str]) -> None:
    from trainer.__main__ import main

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.exit(main(words))


def trainer(words: list[str]) -> mp.Process:
    """``python -m trainer WORDS`` without its output."""
    process = CONTEXT.Process(target=_run, args=(words,))
    process.start()
    return process
