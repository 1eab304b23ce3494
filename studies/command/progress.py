"""Live progress for people: a line per event worth reading, and on a terminal what goes on at this moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.live import Live as Screen

from studies.command import live
from studies.command.console import StudyConsole, beside_name
from studies.engine.job import PAUSED, RESULTS
from trainer.record.run import write_atomically

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna

QUIET_SECONDS = 20
WORDS = {
    "complete": "done", "paused": "waits", "pruned": "stopped", "collapsed": "COLLAPSE", "diverged": "DIVERGED",
    "out_of_memory": "NO MEMORY",
}  # fmt: skip


class Shown:
    """Prints the study as it goes. Use as a context manager, from the first moment on."""

    def __init__(self, console: StudyConsole):
        self._console = console
        self._live = live.Live()
        self._screen = Screen(self._live, console=console, refresh_per_second=4, transient=True)
        self._jobs: Jobs | None = None
        self._spoken, self._noticed = time.monotonic(), set()

    def __enter__(self) -> Shown:
        if self._console.is_terminal:
            # rich measures the part that changes before a line is printed, and its other thread may draw it with more
            # or fewer lines meanwhile: one line would be lost, or one left over
            self._console.drawing = self._screen._lock
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._screen.stop()

    def doing(self, text: str) -> None:
        """Say what takes a while before anything trains, or at the end."""
        self._live.doing(text)
        if not self._console.is_terminal:
            self._say(text)

    def follow(self, jobs: Jobs) -> None:
        """From now on show these jobs, beginning with what is on record."""
        self._jobs = jobs
        self._live.follow(jobs)
        if self._live.remaining.done:
            self._say(f"on record: {self._live.epochs()}; {self._live.counts()}")

    def __call__(self, what: str, name: str, result: dict[str, Any]) -> None:
        """Take an event of :class:`studies.running.conductor.Conductor`."""
        if what == "start":
            self._live.doing("training: the first epoch comes after torch is loaded" if not self._live.scores else "")
            self._breathe()
        elif what == "epoch":
            self._epoch(name, result)
        elif what == "waiting":
            has = ", ".join(
                f"{result['free'].get(kind, 0):g} of {result['have'].get(kind, 0):g} {kind}" for kind in ("CPU", "GPU")
            )
            self._say(
                "waiting   no trial has started yet: its process is starting, or others hold what it needs; free:"
                f" {has}"
            )
        elif what == "stalled":
            have = ", ".join(f"{result['have'].get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            self._say(
                f"STALLED   no trial could start for {result['minutes']:g} minutes; the cluster has {have}. Check that"
                " its nodes are alive (ray status) and what else uses them; Ctrl-C loses nothing"
            )
        elif what == "hung":
            self._say(
                f"HUNG      {name}: no report for {result['minutes']:g} minutes; it is killed and tried again from its"
                " last epoch. If an epoch really takes that long, raise --hang-minutes"
            )
        elif what == "again":
            self._say(f"retry     {name}  {result['kind']}: {result['reason'][:110]}")
        else:
            self._end(what, name, result)

    def _epoch(self, name: str, result: dict[str, Any]) -> None:
        self._live.remaining.reached(name, int(result["epoch"]))
        if result.get("score") is not None and result.get("probe_epoch"):
            self._live.scores[name] = result["score"], result["probe_epoch"]
        self._live.trained()
        notice = result.get("notice")
        if notice and notice not in self._noticed:
            self._noticed.add(notice)
            self._say(f"notice    {notice}")
        self._breathe()

    def _breathe(self) -> None:
        """Where the screen does not change by itself, say every now and then that the study goes on."""
        if not self._console.is_terminal and time.monotonic() - self._spoken > QUIET_SECONDS:
            self._say("; ".join([self._live.epochs(), self._live.counts()]))
            for row in self._live.running():
                self._say(f"running   {row}")
            for best in self._live.best():
                self._say(f"best      {live.shown(best)}")

    def _end(self, what: str, name: str, result: dict[str, Any]) -> None:
        score, epoch = result.get("score"), result.get("epoch", 0)
        text = f"linacc {score:.1f} at epoch {epoch}" if score is not None else f"epoch {epoch}"
        self._say(f"{WORDS.get(what, 'FAILED'):<9} {name}  {text}  {self._jobs.labels.get(name, '')}")
        if what not in (*RESULTS, PAUSED):
            self._keep_error(name, result.get("trace"))

    def _keep_error(self, name: str, trace: str | None) -> None:
        """Ray's own copies go with its folder."""
        text = (trace or "").strip() or "no traceback was left"
        kept = self._jobs.plan.folder / "errors" / f"{name}.txt"
        write_atomically(kept, text.encode() + b"\n")
        self._say(f"          {text.splitlines()[-1][:160]} (all of it in {kept})")

    def _say(self, text: str) -> None:
        self._spoken = time.monotonic()
        minutes, seconds = divmod(int(self._live.seconds), 60)
        beside_name(self._console, f"{minutes:>2}:{seconds:02}", text, width=7)
