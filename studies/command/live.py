"""The part of the screen that changes: what the study is doing, how far it is, what runs, and the best so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from studies.engine.best import Best, BestSoFar
from studies.engine.remaining import Remaining
from trainer.command.duration import duration

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna

OTHER_LINES = 12
"""Lines of a terminal that the running trials leave for the rest."""


class Live:
    """What :class:`rich.live.Live` draws again several times a second; numbers come from the study's own state.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._began = clock, clock()
        self._doing, self._since = "starting", clock()
        self._spinner = Spinner("dots")
        self._jobs: Jobs | None = None
        self.scores: dict[str, tuple[float, int]] = {}

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def doing(self, text: str) -> None:
        self._doing, self._since = text, self._clock()

    def follow(self, jobs: Jobs) -> None:
        """From now on show these jobs."""
        self.remaining, self.best = Remaining(jobs), BestSoFar(jobs)
        self._jobs, self._training = jobs, None

    def trained(self) -> None:
        """An epoch ended: from now on the time left can be told."""
        self._doing = ""
        if self._training is None:
            self._training = self._clock(), self.remaining.trained

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._doing:
            self._spinner.update(
                text=Text(
                    f"{self._doing} ({duration(round(self._clock() - self._since))})", overflow="ellipsis", no_wrap=True
                )
            )
            yield self._spinner
        if self._jobs is not None:
            yield self._progress(options.max_width)
            for text in [self.counts(), *self._rows(console.height)]:
                yield Text(text, overflow="ellipsis", no_wrap=True)

    def _progress(self, width: int) -> Table:
        done, left = self.remaining.done, self.remaining.left
        line = Table.grid(padding=(0, 1))
        text = self.epochs() + self._time_left(left)
        line.add_row(
            ProgressBar(total=max(1.0, done + left), completed=done, width=max(10, min(40, width - len(text) - 2))),
            text,
        )
        return line

    def epochs(self) -> str:
        done, left = self.remaining.done, self.remaining.left
        search = self._jobs.search
        about = "about " if left and search is not None and self._jobs.plan.rungs and not search.all_ended else ""
        return f"{done} of {about}{done + left:.0f} epochs"

    def counts(self) -> str:
        """Trials and runs that ended."""
        jobs, states = self._jobs, self._jobs.states
        compared = sum(name not in _trials(jobs) for name in states)
        text = f"compared: {compared} of {compared + jobs.comparison.left + _compared(jobs)} runs"
        if jobs.search is None:
            return text
        ended = sum(name in _trials(jobs) for name in states)
        return f"search: {ended} of {jobs.plan.num_trials} trials ended; {text}"

    def running(self) -> list[str]:
        """A line per run."""
        running = list(self._jobs.running.items())
        width = max((len(name) for name, _ in running), default=0)
        scores = {
            name: f"linacc {score:.1f} at {epoch}"
            for name, (score, epoch) in self.scores.items()
            if name in dict(running)
        }
        beside = max(map(len, scores.values()), default=-2) + 2
        return [
            f"{name:<{width}}  epoch {self.remaining.at.get(name, 0):>2}/{self._jobs.plan.epochs} "
            f" {scores.get(name, ''):<{beside}}{job.label}"
            for name, job in running
        ]

    def _rows(self, height: int) -> Iterator[str]:
        rows = self.running()
        most = max(2, height - OTHER_LINES)
        for number, row in enumerate(rows[:most]):
            yield f"{'running' if number == 0 else '':<8} {row}"
        if len(rows) > most:
            yield f"{'':<8} and {len(rows) - most} more"
        for number, best in enumerate(self.best()):
            yield f"{'best' if number == 0 else '':<8} {shown(best)}"

    def _time_left(self, left: float) -> str:
        if not left or self._training is None:
            return ""
        since, before = self._training
        trained, seconds = self.remaining.trained - before, self._clock() - since
        return f", about {duration(round(left * seconds / trained))} left" if trained >= 3 else ""


def shown(best: Best) -> str:
    return f"{best.name}  linacc {best.value:.1f} at epoch {best.epoch}  {best.label}"


def _trials(jobs: Jobs) -> set[str]:
    return {job.name for job in jobs.search.trials.values()} if jobs.search is not None else set()


def _compared(jobs: Jobs) -> int:
    """Compared runs that are neither waiting for their first start nor ended."""
    return sum(job.trial is None for job in jobs.unfinished) - len(jobs.comparison.queue)
