"""Asynchronous successive halving (ASHA, Li et al., arXiv 1810.05934)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from studies.engine.stopping.face import GO, STOP, WAIT, Judgement, TopShare, cutoff, top


class Asha(TopShare):
    """Promotes: a trial waits at its rung until it is in the top 1/eta there, and then goes on from its checkpoint.

    The rule of the paper: nobody goes on before eta values stand at the rung, and whoever is overtaken stays. At the
    end, when nobody can arrive any more, at least the best goes on. A trial that is already in the top 1/eta as it
    arrives is not taken from its worker: the free worker would be given to it at once.
    """

    says = "promotes who waits there"
    takes = ("grace", "eta", "brackets")
    waits = True
    in_order = False

    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        n = len(ranked)
        return top(ranked, place, n // self.eta if to_come else max(1, n // self.eta), WAIT if to_come else STOP)


class AshaStop(TopShare):
    """Stops only: a trial is judged once, as it arrives, among those that are there; the first always goes on.

    No trial ever waits, so nothing is restarted; who comes early has it easier. Judged only among the trials before it
    (``--lag``), the outcome does not depend on who arrives first.
    """

    says = "judges each once"
    takes = ("grace", "eta", "brackets")

    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        keep = max(1, len(ranked) // self.eta)
        better = len(ranked) - bisect_right(ranked, own)  # equal values go together
        return Judgement(GO if better < keep else STOP, cutoff(ranked, keep))
