"""Values of the trials at the rungs, by bracket: who is judged when, and who waits."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from studies.engine.candidates import finite
from studies.engine.stopping.face import GO, STOP, WAIT, Rule
from studies.engine.stopping.own import asked


def bracket_name(group: str, turn: int) -> str:
    """``<group>``, and ``<group>/<turn>`` for the brackets that start at a later rung."""
    return f"{group}/{turn}" if turn else group


@dataclass(frozen=True)
class RungDecision:
    """Inputs and outcome of one decision.

    Attributes:
        verdict: ``go``, ``wait`` or ``stop``.
        cutoff: the worst value that would have gone on, None while every value would.
        peers: how many values it was ranked among, the trial's own included.
    """

    rung: int
    value: float | None
    cutoff: float | None
    peers: int
    verdict: str

    @property
    def inputs(self) -> dict[str, Any]:
        """As they stand on record."""
        return {"rung": self.rung, "cutoff": self.cutoff, "peers": self.peers}

    @property
    def stop(self) -> bool:
        return self.verdict == STOP


class Ladder:
    """One search's rungs.

    Attributes:
        rungs: epochs, ascending.
        unsuggested: trials that are still to be suggested, of whatever bracket.
    """

    def __init__(self, rule: Rule, unsuggested: int = 0):
        self.rule, self.rungs, self.unsuggested = rule, rule.rungs, unsuggested
        self._values: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        # the same values in order, worst first: a decision then costs a search, not a sort of the rung
        self._ranked: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._places: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)  # (value, -trial)
        self._alive: dict[str, set[int]] = defaultdict(set)
        self._arrived: dict[tuple[str, int], int] = defaultdict(int)  # of those alive, how many have a value there
        self._waiting: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)  # worst first

    # --- who there is

    def enter(self, bracket: str, trial: int) -> None:
        """A trial was suggested, or is run again."""
        if trial not in self._alive[bracket]:
            self._alive[bracket].add(trial)
            for rung in self.rungs:
                self._arrived[bracket, rung] += trial in self._values[bracket, rung]

    def leave(self, bracket: str, trial: int) -> None:
        """A trial ended."""
        if trial in self._alive[bracket]:
            self._alive[bracket].discard(trial)
            for rung in self.rungs:
                self._arrived[bracket, rung] -= trial in self._values[bracket, rung]
        for rung in self.rungs:
            self._unwait(bracket, trial, rung)

    def to_come(self, bracket: str, rung: int) -> int:
        """How many trials may still arrive at a rung."""
        return self.unsuggested + len(self._alive[bracket]) - self._arrived[bracket, rung]

    # --- values

    def rungs_of(self, bracket: str) -> tuple[int, ...]:
        """The rungs at which trials of a bracket are judged."""
        _, slash, turn = bracket.rpartition("/")
        return self.rungs[int(turn) if slash and turn.isdigit() else 0 :]

    def due(self, bracket: str, trial: int, epoch: int) -> int | None:
        """The highest rung at or below ``epoch`` where the trial has no value yet, if it is above all it has."""
        rungs = self.rungs_of(bracket)
        open_rungs = [rung for rung in rungs if rung <= epoch and trial not in self._values[bracket, rung]]
        done = [rung for rung in rungs if trial in self._values[bracket, rung]]
        return open_rungs[-1] if open_rungs and open_rungs[-1] > max(done, default=0) else None

    def put(self, bracket: str, trial: int, rung: int, value: float | None) -> None:
        """Note a value without deciding, when a study is rebuilt from its record."""
        values, ranked, places = (kind[bracket, rung] for kind in (self._values, self._ranked, self._places))
        if trial in values:
            ranked.pop(bisect_left(ranked, values[trial]))
            places.pop(bisect_left(places, (values[trial], -trial)))
        elif trial in self._alive[bracket]:
            self._arrived[bracket, rung] += 1
        values[trial] = value if finite(value) else -math.inf
        insort(ranked, values[trial])
        insort(places, (values[trial], -trial))

    # --- decisions

    def decide(self, bracket: str, trial: int, rung: int, value: float | None, lag: int = 0) -> RungDecision:
        """Note a trial's value at a rung and say what becomes of it there.

        Args:
            lag: 0 ranks among all values there now. Otherwise a rule that never waits is asked about trials numbered
                ``trial - lag`` or below alone, which all ended before this one was suggested: the outcome then does not
                depend on who came first.
        """
        self.put(bracket, trial, rung, value)
        decision = self._judge(bracket, trial, rung, lag)
        if decision.verdict == WAIT:
            self.wait(bracket, trial, rung)
        return decision

    def wait(self, bracket: str, trial: int, rung: int) -> None:
        """Note that a trial waits at a rung."""
        insort(self._waiting[bracket, rung], (self._values[bracket, rung][trial], -trial))

    def promote(self, bracket: str, trial: int, rung: int) -> None:
        """Note that a trial that waited goes on."""
        self._unwait(bracket, trial, rung)

    def promotable(self, not_yet: Collection[int] = ()) -> tuple[str, int, RungDecision] | None:
        """(bracket, trial, decision) of a trial that waited and may go on, the highest rung first; it still waits.

        Args:
            not_yet: trials that may not, and in whose stead nobody else does.
        """
        for rung in reversed(self.rungs):
            for (bracket, at), waiting in self._waiting.items():
                if at != rung or not waiting:
                    continue
                trial = -waiting[-1][1]  # of equal values the earlier trial
                decision = self._judge(bracket, trial, rung)
                if decision.verdict == GO and trial not in not_yet:
                    return bracket, trial, decision
        return None

    def hopeless(self) -> Iterator[tuple[str, int, RungDecision]]:
        """Trials that wait although nobody can arrive any more, and will not go on."""
        for (bracket, rung), waiting in list(self._waiting.items()):
            if waiting and not self.to_come(bracket, rung):
                for _, number in list(waiting):
                    decision = self._judge(bracket, -number, rung)
                    if decision.verdict == STOP:
                        yield bracket, -number, decision

    def _judge(self, bracket: str, trial: int, rung: int, lag: int = 0) -> RungDecision:
        own = self._values[bracket, rung][trial]
        ranked, places = self._ranked[bracket, rung], self._places[bracket, rung]
        if lag and not self.rule.waits:
            places = [(value, t) for value, t in places if -t <= trial - lag or -t == trial]
            ranked = [value for value, _ in places]
        place = len(places) - bisect_left(places, (own, -trial))
        judged = asked(self.rule, ranked, own, place, self.to_come(bracket, rung))
        if not math.isfinite(own):
            return RungDecision(rung, None, judged.cutoff, len(ranked), STOP)
        return RungDecision(rung, own, judged.cutoff, len(ranked), judged.verdict)

    def _unwait(self, bracket: str, trial: int, rung: int) -> None:
        value = self._values[bracket, rung].get(trial)
        waiting = self._waiting[bracket, rung]
        if value is not None and waiting:
            place = bisect_left(waiting, (value, -trial))
            if waiting[place : place + 1] == [(value, -trial)]:
                waiting.pop(place)
