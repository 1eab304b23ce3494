"""The search trials in an SQLite storage that optuna-dashboard opens while the study runs.

Trial t007 of the study is trial 7 there: running, with a point of its curve for every probed epoch, or ended. It
mirrors and is never read back: a live storage would be ahead of the record after a kill. Deleting the file loses
nothing; the next driver writes it again. Opening it once trials have started was tried: 9 starts each, 7.4 s to the
first epoch instead of 7.2, as its imports then take the processors from theirs.
"""

from __future__ import annotations

import sys
import warnings
from datetime import datetime

import optuna
from sqlalchemy import event

from studies.engine.decisions import Decisions
from studies.engine.moments import moments
from studies.engine.plan import Plan
from studies.engine.sampling import Sampling
from studies.running.mirrored_trial import Trials
from trainer.errors import with_kind

NAME = "optuna.db"
LOCK_SECONDS = 10
PLACE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_PERM",
)
"""SQLite's names for faults that say nothing against the file's content."""


class Mirror:
    """Shows trials in ``results/<study>/optuna.db`` as they start, are probed and end.

    The study does not need it, so no fault of the file ends or holds up the study: a damaged or foreign file is moved
    aside and written anew; one that cannot be opened or written is said once on stderr and given up until the next
    driver.
    """

    def __init__(self, plan: Plan, sampling: Sampling):
        self.path = plan.folder / NAME
        self._name, self._objectives = plan.study, plan.search.objectives
        self._storage: optuna.storages.RDBStorage | None = None
        self._study: int | None = None  # its id in the storage; None: given up
        self._trials = Trials(plan, sampling.asked)
        self._there: list[int] = []
        self._looked = 0
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
        """Show what was decided since the last call."""
        if self._study is None:
            return
        first = self._looked == 0
        changed = self._take(decisions)
        try:
            if first and not self._same():
                self._forget()
            for number in sorted({*changed, *range(len(self._there), len(self._trials))}):
                self._put(number)
        except Exception as error:
            self._give_up("written", error)

    def probed(self, number: int, epoch: int, score: float) -> None:
        """Add a point to a running trial's curve."""
        if self._study is None or len(self._objectives) > 1 or number >= len(self._there):
            return
        try:
            self._storage.set_trial_intermediate_value(self._there[number], epoch, score)
        except Exception as error:
            self._give_up("written", error)

    def close(self) -> None:
        if self._storage is not None:
            self._storage.engine.dispose()

    def _open(self) -> None:
        self._storage = optuna.storages.RDBStorage(
            f"sqlite:///{self.path}", engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}}
        )
        # a mirror need not survive a power cut, and waiting for the disk would hold up the study
        event.listen(
            self._storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
        )
        self._storage.engine.dispose()  # the connections opened so far
        self._study = self._begin()
        found = self._storage.get_all_trials(self._study, deepcopy=False)
        # the version before numbered trials in the order of their ends
        foreign = [trial for trial in found if "run_id" not in trial.user_attrs]
        if foreign:
            raise ValueError(f"trial {foreign[0].number} is not the study's")
        self._there = [trial._trial_id for trial in found]

    def _begin(self) -> int:
        directions = ["maximize"] * len(self._objectives)
        study = optuna.create_study(
            storage=self._storage, study_name=self._name, directions=directions, load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(self._objectives))
        return study._study_id

    def _take(self, decisions: Decisions) -> list[int]:
        now = datetime.now()
        new = decisions.events[self._looked :]
        # what happens while we look happens now
        when = moments(new, now) if self._looked == 0 else [now] * len(new)
        self._looked += len(new)
        changed = [self._trials.take(line, moment) for line, moment in zip(new, when, strict=True)]
        return [number for number in changed if number is not None]

    def _same(self) -> bool:
        """Whether what is there is how the record has it, so that it need only be continued."""
        if len(self._there) > len(self._trials):
            return False
        for known in self._storage.get_all_trials(self._study, deepcopy=False):
            wanted = self._trials.frozen(known.number, curve=False)
            ended = known.state.is_finished() or wanted.state.is_finished()
            if known.user_attrs.get("run_id") != wanted.user_attrs["run_id"] or (ended and known.state != wanted.state):
                return False
        return True

    def _forget(self) -> None:
        self._storage.delete_study(self._study)
        self._study, self._there = self._begin(), []

    def _put(self, number: int) -> None:
        if number >= len(self._there):  # numbers are given in order, and so are suggestions
            trial = self._trials.frozen(number, curve=True)
            self._there.append(self._storage.create_new_trial(self._study, template_trial=trial))
            return
        known, trial = self._storage.get_trial(self._there[number]), self._trials.frozen(number, curve=False)
        if known.state.is_finished():
            if trial.state != known.state:  # Optuna lets nobody reopen a trial; one that was not run is tried again
                self._forget()
                for earlier in range(len(self._trials)):
                    self._put(earlier)
            return
        for name, value in trial.user_attrs.items():
            if name not in known.user_attrs:
                self._storage.set_trial_user_attr(known._trial_id, name, value)
        if trial.state.is_finished():
            for epoch, score in self._trials.curve(number).items():
                if epoch not in known.intermediate_values:
                    self._storage.set_trial_intermediate_value(known._trial_id, epoch, score)
        if trial.state != known.state:
            self._storage.set_trial_state_values(known._trial_id, trial.state, trial.values)

    def _set_aside(self, error: Exception) -> None:
        self.close()
        aside = self.path.replace(self.path.with_name(f"{NAME}.damaged"))
        for ending in ("-journal", "-wal", "-shm"):  # SQLite would play what belongs to the old file into the new one
            self.path.with_name(NAME + ending).unlink(missing_ok=True)
        print(
            f"{self.path} is damaged or not this study's ({_reason(error)}): moved to {aside.name} and written anew",
            file=sys.stderr,
        )

    def _give_up(self, what: str, error: Exception) -> None:
        self._study = None
        self.close()
        print(
            f"{self.path} cannot be {what} ({_reason(error)}): no more trials appear in it; the next start of the study"
            " tries again",
            file=sys.stderr,
        )


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
    return with_kind(said)[:120]
