"""Hyperband (Li et al., arXiv 1603.06560): gates that start at different epochs, so that no single grace is trusted."""

from __future__ import annotations

from studies.engine.stopping.gate import Gate


class Hyperband(Gate):
    """Brackets of gates, each of which starts one rung later than the one before; by default one per rung.

    A bracket of s rungs gets trials in proportion to eta^s / (s + 1), so that the brackets cost about the same. The
    paper's last bracket, which judges nobody, is left out: full-length runs are what the comparison is for.
    """

    says = "does the same in brackets"
    takes = ("grace", "eta", "brackets")
    usual = {"grace": 4, "eta": 3, "brackets": 0}

    def bracket(self, number: int) -> int:
        weights = [self.eta ** (self.brackets - b) / (self.brackets - b + 1) for b in range(self.brackets)]
        counts = [0] * self.brackets
        for _ in range(number + 1):  # always to the bracket that is furthest behind its share
            place = max(range(self.brackets), key=lambda b: (weights[b] / (counts[b] + 1), -b))
            counts[place] += 1
        return place
