"""A search trial as Optuna would hold it, from the study's record alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from studies.engine.job import NOT_RUN
from studies.engine.plan import Plan
from studies.engine.sampling import outcome
from trainer.record.writer import NAME, reports_on_record


class Trials:
    """Trials by number, as far as a study's events tell; :meth:`take` them in order.

    Args:
        asked: Optuna's own object of a trial: its parameters and their distributions.
    """

    def __init__(self, plan: Plan, asked: Any):
        self._plan, self._asked = plan, asked
        self._config = plan.config({}, plan.seeds[0])  # names of metrics, which all arms share
        self._suggest: dict[int, dict[str, Any]] = {}
        self._begun: dict[int, datetime] = {}
        self._finish: dict[int, tuple[dict[str, Any], datetime]] = {}

    def __len__(self) -> int:
        return len(self._suggest)

    def take(self, line: dict[str, Any], when: datetime) -> int | None:
        """The number of the trial that an event changed, None if it changed none."""
        number, event = line.get("trial"), line["event"]
        if number is None or event not in ("suggest", "start", "finish"):
            return None
        if event == "suggest":
            self._suggest[number] = line
        elif event == "start":
            self._begun.setdefault(number, when)
            self._finish.pop(number, None)  # one that was not run is tried again
        else:
            self._begun.setdefault(number, when)
            self._finish[number] = line, when
        return number

    def frozen(self, number: int, curve: bool) -> FrozenTrial:
        """The trial as it stands.

        Args:
            curve: with the score of every probed epoch on its run's record.
        """
        line, asked = self._suggest[number], self._asked(number)
        finish, complete = self._finish.get(number, (None, None))
        begun = self._begun.get(number)
        state, values = (TrialState.RUNNING if begun else TrialState.WAITING), None
        if finish is not None:
            state, values, _ = outcome(
                self._plan.search.objectives, finish["state"], finish["epoch"], finish["objectives"]
            )
            if finish["state"] in NOT_RUN:
                state = TrialState.FAIL
            if state == TrialState.PRUNED and finish["state"] != "diverged":
                told = [finish["objectives"].get(name) for name in self._plan.search.objectives]
                values = None if None in told else told
        # what the suggestion does not mean literally is no parameter: a strength that stands for 0 would be read as
        # itself
        literal = {name: value for name, value in asked.params.items() if line["params"].get(name) == value}
        return FrozenTrial(
            number=number, trial_id=-1, state=state, value=None, values=values, datetime_start=begun,
            datetime_complete=complete,
            params=literal, distributions={name: asked.distributions[name] for name in literal},
            user_attrs=self._attributes(number, asked, finish), system_attrs={},
            intermediate_values=self.curve(number) if curve else {},
        )  # fmt: skip

    def curve(self, number: int) -> dict[int, float]:
        """The first objective by probed epoch; a search for several has no such curve in Optuna."""
        if len(self._plan.search.objectives) > 1:
            return {}
        run = self._suggest[number]["run_id"]
        reports, _ = reports_on_record(self._plan.folder / "runs" / run / NAME, self._config, run)
        measured = {report["probe_epoch"]: report["score"] for report in reports if report.get("probe_epoch")}
        return {epoch: score for epoch, score in measured.items() if score is not None}

    def _attributes(self, number: int, asked: Trial, finish: dict[str, Any] | None) -> dict[str, Any]:
        line = self._suggest[number]
        about = {name: line[name] for name in ("name", "trial", "run_id", "arm_id", "label")}
        instead = {name: value for name, value in line["params"].items() if asked.params.get(name) != value}
        return about | instead | ({"state": finish["state"], "epoch": finish["epoch"]} if finish else {})
