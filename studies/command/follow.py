"""Where a running study can be looked at: what to open for what, and the page that ``--live`` serves beside it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from studies.engine.plan import Plan
from studies.executors.environment import needed
from trainer.command.terminal import near

ROOT = Path(__file__).resolve().parents[2]
ENDS_SECONDS = 5.0


def addresses(plan: Plan, options: Namespace) -> list[str]:
    """Lines for the plan: each page or the command that opens it, and what it is good for."""
    folder = shlex.quote(str(near(plan.folder)))
    page = "served below" if options.live else f"python -m analysis live {folder}, or --live"
    lines = [f"page       {page}: answer, arms, trials, gates, cost, while it runs"]
    if plan.num_trials:
        lines.append(
            f"search     optuna-dashboard sqlite:///{folder}/optuna.db: a copy of the search; changes nothing here"
        )
    events = f"tensorboard --logdir {folder}/runs" if plan.tensorboard else "--tensorboard writes events"
    lines.append(f"scalars    {events}: every curve of every run")
    if plan.resources.executor == "ray":
        ray = "its address and token follow" if options.dashboard else "--dashboard starts Ray's page"
        lines.append(f"nodes      {ray}: machines, processes and their logs, not trials")
    return lines


@contextmanager
def served(folder: Path, wanted: bool, say: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, the study's page is served by a process of its own, which ends with this one.

    Args:
        say: prints its address, which holds a token: to the screen, never to a file.
    """
    if not wanted:
        yield
        return
    command = [sys.executable, "-m", "analysis", "live", str(folder), "--while-alive", str(os.getpid())]
    environment = needed(os.environ) | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        start_new_session=True,  # Ctrl-C is for the study, which ends it
    )  # fmt: skip
    threading.Thread(target=_address, args=(child, say), daemon=True).start()
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(ENDS_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _address(child: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    """Its first line, and whatever it says if it ends without one."""
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    say(
        line.replace("page  ", "page       ", 1)
        if line.startswith("page")
        else f"page       not served: {line or 'it ended'}"
    )
    for _ in child.stdout:  # so that it never waits for somebody to read
        pass
