"""The parts of a plan: the arms, and the settings of search, stopping, resources and limits."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from types import CodeType
from typing import Any

from studies.engine.stopping import RULES, Rule

ON_RECORD = {"asha": "asha promoting", "asha-stop": "asha"}
"""Rules whose name in study.json is not that of the command line: asha only stopped when the first studies began."""


@dataclass(frozen=True)
class Arm:
    """Settings to be compared on the study's seeds.

    Attributes:
        role: ``best``, ``candidate`` (next in the search's order), ``untrained``, ``grid`` for an arm of the study's
            own, or the name that the declaration gives to references and controls.
        reference: key of the arm it is compared with, or None.
        search_value: the score by which a searched arm was chosen.
        peer: key of a further arm it is compared with, or None.
        place: among the searched arms of its level, 1 for the best.
    """

    key: str
    role: str
    label: str
    overrides: dict[str, Any]
    reference: str | None = None
    search_value: float | None = None
    peer: str | None = None
    place: int | None = None


@dataclass(frozen=True)
class Resources:
    """What one trial takes and how many run at once.

    Attributes:
        cpus, gpus: of one worker.
        concurrent: trials at once; on a cluster at most so many as fit, and 0 for just those.
        executor: who starts them, ``ray`` or ``process``.
    """

    cpus: int
    gpus: float
    workers: int
    backend: str
    concurrent: int
    executor: str = "ray"


@dataclass(frozen=True)
class SearchPlan:
    """How points are proposed and how many of the best are confirmed.

    Attributes:
        objectives: one, or several for a Pareto search; trials are stopped and ranked by the first.
        top_k: arms of each level that run against each other in the race; without one, on the seed list.
        race: seeds of the race, 0 for none.
        seed: of the sampler, None for that of the trials' runs.
        verdict: whether anything is compared after the search.
        lag: 0 decides on whatever is on record at the moment. Otherwise trial k is suggested after all trials up to
            k - lag ended, and judged against those alone (``--deterministic``).
        warm_start: folders of earlier studies.
        choose: by which score trials are confirmed, ``raw`` or ``smoothed``.
    """

    sampler: str = "tpe"
    objectives: tuple[str, ...] = ("linacc",)
    top_k: int = 1
    lag: int = 0
    warm_start: tuple[str, ...] = ()
    race: int = 0
    seed: int | None = None
    verdict: bool = True
    choose: str = "raw"


@dataclass(frozen=True)
class Stopping:
    """Who is stopped early.

    Attributes:
        rule: a name of :data:`studies.engine.stopping.RULES`, or one that the study declares.
        grace, eta, brackets: see :class:`studies.engine.stopping.Rule`; None for the rule's own.
        together: one bracket for all strata, instead of one for each level.
        own: the class of a rule that the study declares.
        collapse_rank: a trial whose aggregate has a lower effective rank at a probe epoch from ``grace`` and from a
            sixth of the run on is stopped as collapsed; 0 switches that off. On the curves on record healthy runs pass
            through 1.2 in epochs 1 and 2 of 30 and none is below 1.6 from epoch 5 on, while the collapse control stays
            below 1.4.
    """

    rule: str = "asha"
    grace: int | None = None
    eta: int | None = None
    brackets: int | None = None
    collapse_rank: float = 1.5
    together: bool = False
    own: type[Rule] | None = None

    def over(self, epochs: int) -> Rule:
        """The rule for runs of so many epochs."""
        return (self.own or RULES[self.rule])(epochs, self.grace, self.eta, self.brackets)

    def stored(self, epochs: int) -> dict[str, Any]:
        """What study.json says of it; the rule's own values are written out, a later default changes nothing."""
        rule = self.over(epochs)
        said = {"rule": ON_RECORD.get(self.rule, self.rule), "grace": rule.grace, "eta": rule.eta}
        said |= {"brackets": rule.brackets, "collapse_rank": self.collapse_rank}
        if self.together:
            said["together"] = True
        if self.own is not None:
            said["source"] = hashlib.sha256(_source(self.own).encode()).hexdigest()[:16]
        return said


def _source(rule: type[Rule]) -> str:
    """What a rule does, as text."""
    try:
        return inspect.getsource(rule)
    except (OSError, TypeError):  # typed into an interpreter or a notebook's cell: what it was compiled to
        own = {name: getattr(one, "fget", one) for name, one in sorted(vars(rule).items()) if name in _written(rule)}
        return repr([(name, _compiled(one.__code__) if inspect.isfunction(one) else one) for name, one in own.items()])


def _written(rule: type[Rule]) -> set[str]:
    """Names that a class's author gave, not Python."""
    return {name for name in vars(rule) if name == "__init__" or not name.startswith(("__", "_abc_"))}


def _compiled(code: CodeType) -> list[object]:
    inner = [_compiled(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    return [code.co_code, code.co_names, inner]


@dataclass(frozen=True)
class Limits:
    """Bounds on a driver; they change when things run, never what they compute.

    Attributes:
        retries: failures of a job that are forgiven; preemptions are not counted.
        hang_minutes: a trial that says nothing for so long is killed and tried again.
        usd_per_hour: price of everything the study runs on.
    """

    retries: int = 2
    hang_minutes: float = 30.0
    budget_hours: float | None = None
    budget_usd: float | None = None
    usd_per_hour: float = 0.0
