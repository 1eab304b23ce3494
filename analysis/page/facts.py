"""Everything a page speaks of, gathered once: the study, its table, its differences, its cost, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.page.progress import Progress, progress
from analysis.recorded.study import Study
from analysis.sentences.confirmation import confirmation
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import Cost, cost
from analysis.statistics.differences import Key, differences, resolve


@dataclass(frozen=True, eq=False)
class Facts:
    """A study as its page sees it.

    Attributes:
        now: seconds since the epoch at which the page is made.
        touched: time of the newest change of one of its records; NaN where there is none.
        changed: the same of each run, by run_id.
    """

    study: Study
    now: float
    touched: float
    changed: dict[str, float] = field(default_factory=dict)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    @cached_property
    def spent(self) -> Cost:
        return cost(self.study)

    @cached_property
    def progress(self) -> Progress:
        return progress(self.study, self.spent, self.touched, self.now)

    @cached_property
    def found(self) -> pd.DataFrame:
        return differences(self.study)

    @cached_property
    def primary(self) -> pd.DataFrame:
        return self.found[self.found["primary"]]

    @cached_property
    def table(self) -> pd.DataFrame:
        return comparison_table(self.study, self.spent)

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        return confirmation(self.study)

    @cached_property
    def absent(self) -> list[str]:
        """Questions of the declared contrasts of which an arm is not compared yet."""
        return [one.question for one in self.study.declared.contrasts if resolve(self.study, one) is None]

    @cached_property
    def of_run(self) -> dict[str, Key]:
        """The arm of each compared run; of an untrained one that reads another's record, the trained arm."""
        found: dict[str, Key] = {}
        for key in sorted(self.study.arms.ordered, key=lambda key: key[1] == "untrained"):
            for run_id in self.study.arms.runs[key].values():
                found.setdefault(run_id, key)
        return found

    @cached_property
    def varied(self) -> set[str]:
        """Settings in which the study's runs differ, by their dotted names."""
        seen: dict[str, Any] = {}
        found: set[str] = set()
        for run in self.study.runs.values():
            for name, value in run.settings.items():
                if name in seen and seen[name] != value:
                    found.add(name)
                seen.setdefault(name, value)
        return found

    @cached_property
    def names(self) -> dict[Key, str]:
        return self.study.arms.names


def gather(study: Study, now: float | None = None) -> Facts:
    """The facts of a study that was just read."""
    paths = [study.folder / "runs" / run_id / "records.jsonl" for run_id in study.runs]
    changed = {path.parent.name: path.stat().st_mtime for path in paths if path.is_file()}
    decided = study.folder / "decisions.jsonl"
    times = [*changed.values(), *([decided.stat().st_mtime] if decided.is_file() else [])]
    return Facts(study, time.time() if now is None else now, max(times, default=float("nan")), changed)
