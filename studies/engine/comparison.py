"""The comparison half of a study: fixed arms and controls, and each level's best arms with a reference, on the seed
list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studies.engine.choosing import Choice, Chooser
from studies.engine.contrasts import as_recorded
from studies.engine.decisions import Decisions, comparable
from studies.engine.job import Job
from studies.engine.plan import Plan
from studies.engine.search import Candidate, Search
from studies.engine.settings import Arm
from trainer.identity import run_id


class Comparison:
    """Arms on the seed list.

    Args:
        ended: whether a job need not run again.
    """

    def __init__(self, plan: Plan, decisions: Decisions, ended: Callable[[Job], bool]):
        self._plan, self._decisions = plan, decisions
        self.arms = list(plan.arms)
        self.queue: list[Job] = []
        self._known: set[str] = set()
        self._ended = ended
        self._enqueue(self.arms)
        self.selected = not plan.confirm

    @property
    def left(self) -> int:
        """Runs not handed out, those of arms still to be selected included."""
        unknown = (
            0
            if self.selected
            else len(self._plan.confirm) * (self._plan.search.top_k + self._plan.twins) * len(self._plan.seeds)
        )
        return len(self.queue) + unknown

    def select(self, search: Search) -> None:
        """Choose each level's top-k arms by their search score, and queue them and the best one's reference."""
        arms, question = [], search.question
        s, stratum = self._plan.search, self._plan.declared.stratum
        choose = Chooser(s.choose, s.top_k, question, self._decisions)
        for level in self._plan.confirm:
            who = {stratum: level} if stratum else {}
            choice = choose(search.ranking(level), search.candidates(), who)
            chosen = choice.ranked[: s.top_k]
            self._note(who, chosen, choice)
            best = self._plan.declared.best(level)
            for place, candidate in enumerate(chosen, start=1):
                first = place == 1
                key, role = (best, "best") if first else (best.replace("best", f"candidate{place}", 1), "candidate")
                # the candidates are compared with the best: does the search's order hold on fresh seeds?
                reference = best if not first else f"{best}/{question.reference.role}" if question.reference else None
                arm = Arm(key, role, candidate.label, candidate.overrides, reference, candidate.value, place=place)
                arms += [arm, question.twin(arm)] if first and question.reference else [arm]
        self.arms += arms
        self._enqueue(arms)
        self.selected = True

    def write(self) -> None:
        """Put the compared arms on record, with the runs behind each."""
        ids = {arm.key: self._plan.arm_id(arm) for arm in self.arms}
        for arm in self.arms:
            config = self._plan.config(arm.overrides, self._plan.seeds[0])
            entry = {
                "key": arm.key,
                "arm_id": ids[arm.key],
                "role": arm.role,
                "label": arm.label,
                **{column.name: _value(config, column.key) for column in self._plan.declared.columns},
                "reference": ids.get(arm.reference),
                "peer": ids.get(arm.peer),
                "runs": [run_id(self._plan.config(arm.overrides, seed)) for seed in self._plan.seeds],
                "seeds": list(self._plan.seeds),
                "search_value": arm.search_value,
                "place": arm.place,
            }
            noted = self._decisions.last("compare", key=arm.key, arm_id=ids[arm.key], role=arm.role)
            if noted is None or {**comparable(noted), "event": "compare"} != {"event": "compare", **entry}:
                self._decisions.append("compare", **entry)

    def _note(self, who: dict[str, Any], chosen: list[Candidate], choice: Choice) -> None:
        line: dict[str, Any] = {**who, "trials": [c.trial for c in chosen], "values": [c.value for c in chosen]}
        line |= {"epochs": [c.epoch for c in chosen], "reason": choice.reason, **choice.record}
        noted = self._decisions.last("select", **who)
        if noted is None or noted["trials"] != line["trials"]:
            self._decisions.append("select", **line)

    def _enqueue(self, arms: list[Arm]) -> None:
        """Queue the arms' runs on the seed list; a run that several arms share is run once."""
        start = [
            arm.overrides for arm in self.arms if arm.role == "untrained"
        ]  # epoch 0 of a run with the same settings
        for arm in arms:
            if arm.role == "untrained":
                continue
            for seed in self._plan.seeds:
                name = run_id(self._plan.config(arm.overrides, seed))
                if name not in self._known:
                    self._known.add(name)
                    job = Job(
                        name, None, "", "", f"{arm.label} seed {seed}", arm.overrides, seed, arm.overrides in start
                    )
                    if not self._ended(job):
                        self.queue.append(job)


def _value(config: Any, dotted: str) -> Any:
    """A setting of a run; None where the configuration has none there."""
    for part in dotted.split("."):
        config = getattr(config, part, None)
    return as_recorded(config)
