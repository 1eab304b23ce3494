"""Synchronous successive halving: at each gate everybody waits until all are there; then the best go on."""

from __future__ import annotations

from collections.abc import Sequence

from studies.engine.stopping.face import STOP, WAIT, Judgement, TopShare, top


class Gate(TopShare):
    """The best 1/eta of all that arrived go on, at least one.

    With the defaults gates stand at epochs 5 and 10 of 30, and one half goes on at each. Grace 6 and eta 6 make one
    gate. The outcome does not depend on who arrives first, but a worker may stand idle before a gate opens, and the
    sampler sees full-length values only after its last suggestion.
    """

    says = "judges all at once"
    usual = {"grace": 5, "eta": 2}
    waits = True

    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        if to_come:
            return Judgement(WAIT)
        return top(ranked, place, max(1, self.keep(len(ranked))), STOP)

    def keep(self, arrived: int) -> int:
        return arrived // self.eta
