"""Every trial to the end, a collapsed one too: the most a search can cost, and no selection error."""

from __future__ import annotations

from collections.abc import Sequence

from studies.engine.stopping.face import GO, Judgement, Rule


class Never(Rule):
    says = "trains every trial to the end"
    takes = ()

    def epochs_judged(self) -> tuple[int, ...]:
        return ()

    def judge(self, ranked: Sequence[float], own: float, place: int, to_come: int) -> Judgement:
        return Judgement(GO)
