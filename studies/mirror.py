"""Finished trials in an SQLite storage that optuna-dashboard opens while the study runs.

It mirrors and is never read back: a live storage would be ahead of the record after a kill. Deleting the file loses
nothing; the next driver writes it again.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna

from studies.decisions import Decisions
from studies.job import NOT_RUN
from studies.plan import Plan
from studies.sampling import Sampling, outcome

NAME = "optuna.db"
LOCK_SECONDS = 10
PLACE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")
"""SQLite's names for faults that say nothing against the file's content."""


class Mirror:
    """Adds trials to ``results/<study>/optuna.db`` as they end.

    The study does not need it, so no fault of the file ends or holds up the study: a damaged or foreign file is moved
    aside and written anew; one that cannot be opened or written is said once on stderr and given up until the next driver.
    """

    def __init__(self, plan: Plan, sampling: Sampling):
        self.path = plan.folder / NAME
        self._sampling, self._name, self._objectives = sampling, plan.study, plan.search.objectives
        self._storage: optuna.storages.RDBStorage | None = None
        self._study: optuna.Study | None = None  # None: given up
        self._there: set[int] = set()
        try:
            try:
                self._open()
            except Exception as error:  # what SQLAlchemy, alembic, sqlite3 and Optuna raise has no common base
                if _of_the_place(error):
                    raise
                self._set_aside(error)
                self._open()
        except Exception as error:
            self._give_up("opened", error)

    def follow(self, decisions: Decisions) -> None:
        """Add what ended since the last call."""
        if self._study is None:
            return
        ended = list(self._ended(decisions))
        try:
            for number, trial in ended:
                self._study.add_trial(trial)
                self._there.add(number)
        except Exception as error:
            self._give_up("written", error)

    def close(self) -> None:
        if self._storage is not None:
            self._storage.engine.dispose()

    def _open(self) -> None:
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})
        directions = ["maximize"] * len(self._objectives)
        study = optuna.create_study(storage=self._storage, study_name=self._name, directions=directions, load_if_exists=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(self._objectives))
        self._there = {trial.user_attrs["trial"] for trial in study.get_trials(deepcopy=False)}
        self._study = study

    def _ended(self, decisions: Decisions) -> Iterator[tuple[int, optuna.trial.FrozenTrial]]:
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
            yield number, trial

    def _set_aside(self, error: Exception) -> None:
        self.close()
        aside = self.path.replace(self.path.with_name(f"{NAME}.damaged"))
        for ending in ("-journal", "-wal", "-shm"):  # SQLite would play what belongs to the old file into the new one
            self.path.with_name(NAME + ending).unlink(missing_ok=True)
        print(f"{self.path} is damaged or not this study's ({_reason(error)}): moved to {aside.name} and written anew", file=sys.stderr)

    def _give_up(self, what: str, error: Exception) -> None:
        self._study = None
        self.close()
        print(f"{self.path} cannot be {what} ({_reason(error)}): no more trials appear in it; the next start of the study tries again", file=sys.stderr)


def _of_the_place(error: BaseException | None) -> bool:
    """Whether the file itself may be sound: it is locked, or the system refuses."""
    while error is not None:
        if isinstance(error, OSError) or getattr(error, "sqlite_errorname", "").startswith(PLACE):
            return True
        error = error.__cause__
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):  # Optuna's words are "Record does not exist."
        return "the study is not in it, as after deleting it in optuna-dashboard"
    said = getattr(error, "orig", None) or error  # SQLAlchemy adds the statement and a link
    return f"{type(said).__name__}: {' '.join(str(said).split())[:120]}"
