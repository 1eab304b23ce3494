"""Optuna behind two calls: the next point, and how a trial ended.

Stopped trials are told as PRUNED with their epoch and value, so the model never mistakes a value at epoch 3
for one at epoch 30 (Ray's own OptunaSearch tells them as complete). A diverged trial is PRUNED with the worst
score; a failed one is FAIL, which the sampler ignores. The storage is in memory: the study's own record
rebuilds it, and a database that is ahead of the record could not.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

N_STARTUP = 8
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "diverged": TrialState.PRUNED, "failed": TrialState.FAIL}


class Sampling:
    """Suggestions for one study, maximising the score.

    Args:
        space: define-by-run function from an Optuna trial to a point.
        first_points: parameters to try first; missing ones are filled in by the sampler.
        stratum: parameters that are not the sampler's to choose, by trial number.
        seed: suggestion k depends on this, on k and on the trials told before it.
    """

    def __init__(
        self,
        space: Callable[[Trial], dict[str, Any]],
        first_points: list[dict[str, Any]],
        seed: int,
        stratum: Callable[[int], dict[str, Any]] = lambda number: {},
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._first, self._seed, self._stratum = space, first_points, seed, stratum
        self._study = optuna.create_study(direction="maximize")
        self._trials: dict[int, Trial] = {}

    def suggest(self, number: int, fixed: dict[str, Any] | None = None) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """Point of trial ``number``, its source (``grid``, ``random`` or ``model``) and Optuna's raw parameters.

        ``fixed`` raw parameters re-create a trial that an earlier driver suggested.
        """
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int.from_bytes(digest[:4], "big"), n_startup_trials=N_STARTUP, multivariate=False, constant_liar=True
            )
        told = len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
        source = "model" if told >= N_STARTUP else "random"
        if fixed is None and number < len(self._first):
            fixed, source = self._first[number], "grid"
        self._study.enqueue_trial(self._stratum(number) if fixed is None else fixed)
        trial = self._study.ask()
        point = self._space(trial)
        self._trials[number] = trial
        return point, source, dict(trial.params)

    def tell(self, number: int, state: str, epoch: int, score: float | None) -> None:
        """End trial ``number``: state is ``complete``, ``pruned``, ``diverged`` or ``failed``."""
        trial = self._trials[number]
        if state == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
            return
        value = 0.0 if state == "diverged" or score is None else score
        # the sampler ranks pruned trials by how far they came: one that diverged late must not beat a stopped one
        trial.report(value, step=0 if state == "diverged" else epoch)
        self._study.tell(trial, value if state == "complete" else None, state=STATES[state])

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """What Optuna has been told, for reports and tests."""
        return self._study.get_trials(deepcopy=True)
