"""Finished trials in an SQLite storage that optuna-dashboard opens while the study runs.

It mirrors and is never read back: a live storage would be ahead of the record after a kill. Deleting the file loses
nothing; the next driver writes it again.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import optuna
from sqlalchemy.exc import SQLAlchemyError

from studies.decisions import Decisions
from studies.job import NOT_RUN
from studies.plan import Plan
from studies.sampling import Sampling, outcome

NAME = "optuna.db"


class Mirror:
    """Adds trials to ``results/<study>/optuna.db`` as they end.

    A file that cannot be written is said once on stderr and given up: the study does not need it.
    """

    def __init__(self, plan: Plan, sampling: Sampling):
        self.path = plan.folder / NAME
        self._sampling, self._objectives, self._given_up = sampling, plan.search.objectives, False
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs={"connect_args": {"timeout": 10}})
        directions = ["maximize"] * len(self._objectives)
        self._study = optuna.create_study(storage=self._storage, study_name=plan.study, directions=directions, load_if_exists=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names(list(self._objectives))
        self._there = {trial.user_attrs["trial"] for trial in self._study.get_trials(deepcopy=False)}

    def follow(self, decisions: Decisions) -> None:
        """Add what ended since the last call."""
        if self._given_up:
            return
        try:
            self._add(decisions)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            self._given_up = True
            print(f"{self.path} cannot be written ({' '.join(str(error).split())[:120]}): no more trials appear in it", file=sys.stderr)

    def _add(self, decisions: Decisions) -> None:
        labels = {line["trial"]: line for line in decisions.of("suggest")}
        for line in decisions.of("finish"):
            number = line["trial"]
            if number is None or number in self._there or line["state"] in NOT_RUN:
                continue
            asked = self._sampling.asked(number)
            state, values, steps = outcome(self._objectives, line["state"], line["epoch"], line["objectives"])
            attributes = {name: line[name] for name in ("trial", "run_id", "arm_id", "state", "epoch")}
            trial = optuna.trial.create_trial(
                state=state, values=values, params=asked.params, distributions=asked.distributions,
                user_attrs={**attributes, "label": labels[number]["label"]}, intermediate_values=steps,
            )  # fmt: skip
            self._study.add_trial(trial)
            self._there.add(number)

    def close(self) -> None:
        self._storage.engine.dispose()
