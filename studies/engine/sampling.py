"""Optuna behind two calls: the next point, and how a trial ended.

Stopped trials are told as PRUNED with their epoch and value, so the model never mistakes a value at epoch 3
for one at epoch 30 (Ray's own OptunaSearch tells them as complete). A diverged trial is PRUNED with the worst
score; one that was not run is FAIL, which the sampler ignores. The storage is in memory: the study's own record
rebuilds it, and a database that is ahead of the record could not.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from studies.engine import samplers
from studies.engine.candidates import finite
from studies.engine.question import Question

PRUNED = ("pruned", "collapsed", "diverged")


class Sampling:
    """Suggestions for one study; every objective is maximised.

    Args:
        question: declares the space.
        seed: suggestion k depends on this, on k and on the trials told before it.
        sampler: ``tpe``, ``random``, ``qmc`` or ``grid``.
        objectives: one name, or several for a Pareto search.
        lag: 0 tells the sampler of an end at once. Otherwise of trial j only before suggestion j + lag, in the order
            of the numbers, so that a suggestion does not depend on who ended first.
    """

    def __init__(
        self,
        question: Question,
        seed: int,
        sampler: str = "tpe",
        objectives: tuple[str, ...] = ("linacc",),
        lag: int = 0,
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._question, self._seed, self._sampler, self._objectives, self._lag = (
            question,
            seed,
            sampler,
            objectives,
            lag,
        )
        self._names = tuple(question.ranges)
        self._first = {"tpe": question.first_points, "grid": question.grid_points}.get(sampler, list)()
        self._study = self._empty()
        self._places: dict[int, int] = {}  # of each trial among those Optuna knows
        self._waiting: dict[int, tuple[str, int, dict[str, float | None]]] = {}

    def suggest(self, number: int, fixed: dict[str, Any] | None = None) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """Configuration keys of trial ``number``, their source (``grid``, ``random``, ``qmc`` or ``model``) and
        Optuna's raw parameters.

        Where its points are used up, ``grid`` draws at random. ``fixed`` raw parameters re-create a trial that an
        earlier driver suggested.
        """
        for told in sorted(self._waiting):
            if told <= number - self._lag:
                self._tell(told, *self._waiting.pop(told))
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        stratum = self._question.stratum(number)
        seed = int.from_bytes(digest[:4], "big")
        self._study.sampler = samplers.make(self._sampler, seed, self._seed, number, self._names, stratum)
        told = len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
        source = {"tpe": "model" if told >= samplers.N_STARTUP else "random", "grid": "random"}.get(
            self._sampler, self._sampler
        )
        if fixed is None and number < len(self._first):
            fixed, source = self._first[number], "grid"
        point, trial = self._ask(stratum if fixed is None else fixed)
        self._places[number] = trial.number
        return point, source, dict(trial.params)

    def tell(self, number: int, state: str, epoch: int, objectives: dict[str, float | None]) -> None:
        """How trial ``number`` did; states as in :mod:`studies.engine.job`.

        A trial that waits at a rung is told as pruned there, so that the sampler learns from it; if it goes on, its
        end is told as well and takes the place of that.
        """
        if self._lag:
            self._waiting[number] = (state, epoch, objectives)
        else:
            self._tell(number, state, epoch, objectives)

    def absorb(self, raw: dict[str, Any], state: str, epoch: int, objectives: dict[str, float | None]) -> None:
        """Tell a trial of an earlier study. Call before the first suggestion."""
        _, trial = self._ask(raw)
        self._end(trial.number, state, epoch, objectives)
        self._first = [point for point in self._first if any(raw.get(name) != value for name, value in point.items())]

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """What Optuna has been told, for reports and tests."""
        return self._study.get_trials(deepcopy=True)

    def asked(self, number: int) -> FrozenTrial:
        """Optuna's own object of trial ``number``: its parameters and their distributions."""
        return self._study.get_trials(deepcopy=False)[self._places[number]]

    def _empty(self) -> optuna.Study:
        self._storage = optuna.storages.InMemoryStorage()
        return optuna.create_study(storage=self._storage, directions=["maximize"] * len(self._objectives))

    def _ask(self, fixed: dict[str, Any]) -> tuple[dict[str, Any], Trial]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.enqueue_trial(dict(fixed))
            trial = self._study.ask()
            return self._question.space(trial), trial

    def _tell(self, number: int, state: str, epoch: int, objectives: dict[str, float | None]) -> None:
        self._end(self._places[number], state, epoch, objectives)

    def _end(self, place: int, state: str, epoch: int, objectives: dict[str, float | None]) -> None:
        """Optuna lets nobody change a trial that was told, so all of them are told anew with this one as it is now."""
        told, values, steps = outcome(self._objectives, state, epoch, objectives)
        known = self._study.get_trials(deepcopy=False)
        if not known[place].state.is_finished():
            for step, value in steps.items():
                self._storage.set_trial_intermediate_value(known[place]._trial_id, step, value)
            self._study.tell(place, values, state=told)
            return
        now = known[place]
        changed = create_trial(
            state=told, values=values, intermediate_values=steps, params=now.params, distributions=now.distributions
        )
        self._study = self._empty()
        self._study.add_trials([*known[:place], changed, *known[place + 1 :]])


def outcome(
    names: tuple[str, ...], state: str, epoch: int, objectives: dict[str, float | None]
) -> tuple[TrialState, list[float] | None, dict[int, float]]:
    """Optuna's state, values and intermediate values of a trial that ended."""
    values = [objectives.get(name) for name in names]
    known = all(map(finite, values))
    if state not in ("complete", *PRUNED):
        return TrialState.FAIL, None, {}
    # several objectives have no intermediate values; then a stopped trial ranks below every complete one
    single = len(names) == 1
    if state == "complete" and known:
        return TrialState.COMPLETE, values, {epoch: values[0]} if single else {}
    # the sampler ranks pruned trials by how far they came: one that diverged late must not beat a stopped one
    worst = state == "diverged" or not known
    steps = {} if not single else {0: 0.0} if worst else {epoch: values[0]}
    return TrialState.PRUNED, None, steps
