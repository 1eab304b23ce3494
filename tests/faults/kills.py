"""Killing drivers and trials again and again, at moments of every kind, until so many are dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from faults import compare, moments, processes
from faults.study import Ended, Study

Make = Callable[[Path], Study]


@dataclass
class Outcome:
    """What a kind of fault came to.

    Attributes:
        times: how often it was done.
        problems: everything that should not be, in words; empty if all is well.
        retrained: complete epochs that were trained a second time.
        note: something measured.
    """

    times: int = 0
    problems: list[str] = field(default_factory=list)
    retrained: int = 0
    note: str = ""

    def take(self, study: Study, reference: Study | None) -> None:
        """Judge a study that ended."""
        again = [epochs for _, _, epochs in compare.retrained(study)]
        self.retrained += sum(again)
        self.problems += compare.differences(study, reference) if reference else compare.broken(study)


def drivers(make: Make, folder: Path, times: int, judge: Callable[[Outcome, Study], None]) -> Outcome:
    """SIGKILL ``times`` drivers, each followed by the next at once; as many studies as that takes."""
    outcome, random = Outcome(), Random(0)
    for number in count():
        study = make(folder / str(number))
        try:
            while outcome.times < times:
                study.start()
                _any_moment(study, outcome.times, random)
                study.kill()
                outcome.times += 1
        except Ended:
            assert study.driver.returncode == 0, study.said
        else:
            study.finish()
        judge(outcome, study)
        study.gone()
        if outcome.times >= times:
            return outcome


def trials(make: Make, folder: Path, times: int, judge: Callable[[Outcome, Study], None]) -> Outcome:
    """SIGKILL ``times`` training processes, inside an epoch and while saving in turn."""
    outcome = Outcome()
    for number in count():
        study = make(folder / str(number)).start("--retries", "100")
        struck: list[str] = []
        try:
            while outcome.times < times:
                moment = (moments.mid_epoch, moments.checkpoint_write)[outcome.times % 2]
                # all runs in turn; the latest two may be the only ones that run
                caught = moment(study, avoid=struck[-1:])
                processes.kill(caught.pid)
                struck.append(caught.run)
                outcome.times += 1
        except Ended:
            assert study.driver.returncode == 0, study.said
        else:
            study.wait()
        judge(outcome, study)
        study.gone()
        if outcome.times >= times:
            return outcome


def _any_moment(study: Study, number: int, random: Random) -> None:
    lines, epochs = len(study.decisions("suggest", "rung", "stop", "finish")), study.epochs
    kind = number % 4
    if kind == 0:
        moments.mid_epoch(study)
    elif kind == 1:
        moments.checkpoint_write(study)
    elif kind == 2:
        study.until(
            lambda: len(study.decisions("suggest", "rung", "stop", "finish")) > lines, "a decision", every=0.005
        )
    else:
        further = random.randint(1, 3)
        study.until(lambda: study.epochs >= epochs + further, f"{further} epochs", every=0.005)
