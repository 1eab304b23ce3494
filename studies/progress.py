"""Live progress for people: a line per event worth reading, and a bar where the console is a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from studies.job import RESULTS
from studies.jobs import Jobs
from trainer.records import write_atomically

QUIET_SECONDS = 20


class Shown:
    """Prints the study as it goes. Use as a context manager."""

    def __init__(self, jobs: Jobs, console: Console, expected_epochs: float):
        self._jobs, self._console = jobs, console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("study", total=expected_epochs)
        self._epochs: dict[str, int] = {}
        self._started = self._spoken = time.monotonic()

    def __enter__(self) -> Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, what: str, name: str, result: dict[str, Any]) -> None:
        """Take an event of :class:`studies.tune_adapters.JobCallback`."""
        if what == "epoch":
            self._epochs[name] = int(result["epoch"])
            self._bar.update(self._task, completed=sum(self._epochs.values()))
            if not self._console.is_terminal and time.monotonic() - self._spoken > QUIET_SECONDS:
                running = ", ".join(f"{n} epoch {self._epochs.get(n, 0)}" for n in self._jobs.running)
                self._say(f"running: {running}")
            return
        if what == "waiting":
            has = ", ".join(f"{result['free'].get(kind, 0):g} of {result['have'].get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            self._say(f"waiting  no trial has started yet: its process is starting, or others hold what it needs; free: {has}")
            return
        if what == "stalled":
            have = ", ".join(f"{result['have'].get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            self._say(
                f"STALLED  nothing could start for {result['minutes']:g} minutes; the cluster has {have}: look whether its nodes are alive "
                "(ray status) and whether something else holds them; Ctrl-C and --resume lose nothing"
            )
            return
        if what == "hung":
            self._say(
                f"HUNG     {name} said nothing for {result['minutes']:g} minutes: it is killed and tried again from its last epoch; if its "
                "epochs really take so long, raise --hang-minutes"
            )
            return
        job = self._known(name)
        if what == "again":
            self._say(f"again    {name:<14} {result['kind']}: {result['reason'][:110]}")
            return
        score = result.get("score")
        text = f"{score:5.1f} % linear accuracy at epoch {result.get('epoch', 0):>3}" if score is not None else ""
        words = {"complete": "done", "pruned": "stopped", "collapsed": "COLLAPSE", "diverged": "DIVERGED", "out_of_memory": "NO MEM"}
        self._say(f"{words.get(what, 'FAILED'):<8} {name:<14} {text}  {job}")
        if what not in RESULTS:
            self._keep_error(name, result.get("trace"))

    def _keep_error(self, name: str, trace: str | None) -> None:
        """Ray's own copies go with its folder."""
        text = (trace or "").strip() or "no traceback was left"
        kept = self._jobs.plan.folder / "errors" / f"{name}.txt"
        write_atomically(kept, text.encode() + b"\n")
        self._say(f"         {text.splitlines()[-1][:160]} (all of it in {kept})")

    def _known(self, name: str) -> str:
        return self._jobs.labels.get(name, "")

    def _say(self, text: str) -> None:
        self._spoken = time.monotonic()
        minutes, seconds = divmod(int(self._spoken - self._started), 60)
        self._console.print(f"[dim]{minutes:>2}:{seconds:02}[/dim]  {escape(text)}", highlight=False, soft_wrap=True)
