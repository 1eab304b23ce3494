"""The comparison half of a study: fixed arms and controls, and each level's best arms with a reference, on the seed
list."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from studies.engine.choosing import Choice, Chooser
from studies.engine.contrasts import as_recorded
from studies.engine.decisions import Decisions, comparable
from studies.engine.job import Job
from studies.engine.keys import joined
from studies.engine.plan import Plan
from studies.engine.question import Question
from studies.engine.race import Race
from studies.engine.search import Candidate, Search
from studies.engine.settings import Arm
from trainer.record.identity import run_id


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
        self.race = Race(plan, decisions, ended)
        self.seeds = list(plan.seeds)
        """Those of the plan, and those added since."""
        for line in decisions.of("look"):
            self.seeds += [seed for seed in line["more"] if seed not in self.seeds]
        self._enqueue(self.arms)
        self.selected = not plan.confirm

    @property
    def left(self) -> int:
        """Runs not handed out, those of arms still to be selected included."""
        if self.selected:
            return len(self.queue)
        plan = self._plan
        unknown = plan.chosen * len(self.seeds)
        return len(self.queue) + unknown + (0 if self.race.begun else plan.race_runs)

    def finished(self, name: str, state: str, value: float | None) -> None:
        """A run ended."""
        self.race.finished(name, state, value)

    def select(self, search: Search) -> None:
        """Choose each level's best arms, and queue them and the best one's reference.

        With a race, the search's first few run against each other before that; then this is called again.
        """
        if self.race.begun and not self.race.over:
            return
        s, choices = self._plan.search, {}
        choose = Chooser(s.choose, s.top_k, search.question, self._decisions)
        for level in self._plan.confirm:
            choices[level] = choose(search.ranking(level), search.candidates(), self._who(level))
        if self._plan.races and not self.race.begun:
            for level, choice in choices.items():
                self.queue += self.race.enter(level, choice.ranked[: s.top_k], self._who(level))
        if not self._plan.races or self.race.over:
            self._compare(choices, search.question)

    def _compare(self, choices: dict[str, Choice], question: Question) -> None:
        arms: list[Arm] = []
        for level, choice in choices.items():
            chosen = choice.ranked[: self._plan.search.top_k]
            if self._plan.races and len(chosen) > 1:
                choice = self._winner(level, choice)
                chosen = choice.ranked
            self._note(self._who(level), chosen, choice)
            if not self._plan.search.verdict:
                continue
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

    def look(self, unresolved: list[str]) -> bool:
        """Note which primary contrasts are not resolved with the seeds so far; True if seeds are added for them."""
        looks, n = self._plan.looks, len(self.seeds)
        more = self._fresh(looks[looks.index(n) + 1] - n) if unresolved else []
        self._decisions.append("look", n=n, unresolved=unresolved, more=more)
        self.seeds += more
        self._enqueue(self.arms)
        if more:
            self.write()  # a study that ends here is seen to lack these runs
        return bool(more)

    def _fresh(self, number: int) -> list[int]:
        """So many seeds after those there are; from that of the search on they belong to search and race."""
        order = [*range(max(self.seeds) + 1, self._plan.search_seed), *range(max(self.seeds))]
        return [seed for seed in order if seed not in self.seeds][:number]

    @property
    def may_look(self) -> bool:
        """Whether seeds may still be added, and the last look did not end that."""
        n, last = len(self.seeds), self._decisions.last("look")
        return n < max(self._plan.looks) and (last is None or last["n"] != n)

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
                **{column.name: joined(column.key, partial(_value, config)) for column in self._plan.declared.columns},
                "reference": ids.get(arm.reference),
                "peer": ids.get(arm.peer),
                "runs": [run_id(self._plan.config(arm.overrides, seed)) for seed in self.seeds],
                "seeds": list(self.seeds),
                "search_value": arm.search_value,
                "place": arm.place,
            }
            noted = self._decisions.last("compare", key=arm.key, arm_id=ids[arm.key], role=arm.role)
            if noted is None or {**comparable(noted), "event": "compare"} != {"event": "compare", **entry}:
                self._decisions.append("compare", **entry)

    def _who(self, level: str) -> dict[str, str]:
        stratum = self._plan.declared.stratum
        return {stratum: level} if stratum else {}

    def _winner(self, level: str, choice: Choice) -> Choice:
        """The winner of a race alone, and what its ``select`` line says."""
        (winner, mean), *others = self.race.order(level)
        seeds, value = ", ".join(map(str, self._plan.races)), "without a value" if mean is None else f"mean {mean:.4g}"
        return Choice([winner], f"won the race of {len(others) + 1} on seed {seeds}, {value}", choice.record)

    def _note(self, who: dict[str, Any], chosen: list[Candidate], choice: Choice) -> None:
        line: dict[str, Any] = {**who, "trials": [c.trial for c in chosen], "values": [c.value for c in chosen]}
        line |= {"epochs": [c.epoch for c in chosen], "reason": choice.reason, **choice.record}
        noted, race = (self._decisions.last(event, **who) for event in ("select", "race"))
        events = self._decisions.events
        # whoever wins a further race as well is chosen by that one
        stale = noted is not None and race is not None and events.index(noted) < events.index(race)
        if noted is None or noted["trials"] != line["trials"] or stale:
            self._decisions.append("select", **line)

    def _enqueue(self, arms: list[Arm]) -> None:
        """Queue the arms' runs on the seed list; a run that several arms share is run once."""
        start = [
            arm.overrides for arm in self.arms if arm.role == "untrained"
        ]  # epoch 0 of a run with the same settings
        for arm in arms:
            if arm.role == "untrained":
                continue
            for seed in self.seeds:
                name = run_id(self._plan.config(arm.overrides, seed))
                if name not in self._known:
                    self._known.add(name)
                    label, measured = f"{arm.label} seed {seed}", arm.overrides in start
                    job = Job(name, None, "", "", label, arm.overrides, seed, measured, arm.role)
                    if not self._ended(job):
                        self.queue.append(job)


def _value(config: Any, dotted: str) -> Any:
    """A setting of a run; None where the configuration has none there."""
    for part in dotted.split("."):
        config = getattr(config, part, None)
    return as_recorded(config)
