"""Whom a search chooses in a group: by the raw score, or by the smoothed one with both on record.

Only scores after the same number of epochs can be smoothed together: those of the trials that came furthest, of all
strata. Trials stopped before follow in their raw order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studies.engine import spaces
from studies.engine.candidates import Candidate
from studies.engine.decisions import Decisions
from studies.engine.question import Question

RULES = ("raw", "smoothed")


@dataclass(frozen=True)
class Choice:
    """Candidates of a group in the order of choice, best first.

    Attributes:
        reason: why the first is first.
        record: what the ``select`` line says beside it; {} by the raw score.
    """

    ranked: list[Candidate]
    reason: str
    record: dict[str, Any] = field(default_factory=dict)


class Chooser:
    """Orders the groups of a search that has ended.

    Args:
        rule: ``raw`` or ``smoothed``.
        top: candidates of a group that are confirmed.
    """

    def __init__(self, rule: str, top: int, question: Question, decisions: Decisions):
        self._rule, self._top, self._question, self._decisions = rule, top, question, decisions

    def __call__(self, ranked: list[Candidate], tried: Sequence[Candidate], who: Mapping[str, Any]) -> Choice:
        """Order a group.

        Args:
            ranked: its eligible candidates by raw score, see :meth:`studies.engine.search.Search.ranking`.
            tried: all of the search, eligible or not.
            who: what names the group in a ``select`` line.
        """
        if self._rule == "raw" or not ranked:
            return Choice(ranked, _raw_reason(ranked))
        epoch = max(one.epoch for one in tried)
        points = _one_per_point(one for one in sorted(tried, key=lambda one: one.trial) if one.epoch == epoch)
        within = [one for one in ranked if one.epoch == epoch]
        if why := self._cannot(points, within, epoch):
            return Choice(ranked, _raw_reason(ranked), {"choose": "raw", "not_smoothed": why})
        scores = self._scores(points, who)
        smooth = dict(zip((one.trial for one in points), scores, strict=True))
        by_settings = {_settings(one): smooth[one.trial] for one in points}
        value = {one.trial: by_settings[_settings(one)] for one in within}
        order = sorted(within, key=lambda one: (-value[one.trial], -one.value, one.trial))
        whole = [*order, *ranked[len(order) :]]
        record = {
            "choose": "smoothed",
            "by_smoothed": [[one.trial, one.value, value.get(one.trial)] for one in whole[: self._top]],
            "by_raw": [[one.trial, one.value, value.get(one.trial)] for one in ranked[: self._top]],
            "fitted": [[one.trial, one.value, smooth[one.trial]] for one in points],
        }
        return Choice(whole, f"best smoothed score at epoch {epoch}", record)

    def _cannot(self, points: Sequence[Candidate], within: Sequence[Candidate], epoch: int) -> str:
        """Why there is nothing to smooth; "" if there is."""
        from studies.engine.smoothing import LEAST

        if len(points) < LEAST:
            number = f"{len(points)} point{'' if len(points) == 1 else 's'}"
            return f"only {number} of the space came to epoch {epoch}, and a fit takes {LEAST}"
        return "" if within else f"no eligible trial came to epoch {epoch}"

    def _scores(self, points: Sequence[Candidate], who: Mapping[str, Any]) -> list[float]:
        """Smoothed scores; those on record where they are of the same trials, whatever library fits them today."""
        noted = (self._decisions.last("select", **who) or {}).get("fitted") or []
        if [one[:2] for one in noted] == [[one.trial, one.value] for one in points]:
            return [one[2] for one in noted]
        from studies.engine.smoothing import smoothed  # numpy and scikit-learn take a second to import

        raws = {line["trial"]: line["raw"] for line in self._decisions.of("suggest")}
        raws |= {-number: line["raw"] for number, line in enumerate(self._decisions.of("warm"), start=1)}
        variants = spaces.variants(self._question.space)
        return smoothed(variants, [raws[one.trial] for one in points], [one.value for one in points])


def _raw_reason(ranked: Sequence[Candidate]) -> str:
    if not ranked:
        return "no eligible trial ended"
    if ranked[0].state == "complete":
        return "best score at the last epoch"
    return "none reached the last epoch: furthest, then best"


def _one_per_point(candidates: Any) -> list[Candidate]:
    """The first of those with equal settings, which are one run."""
    found: dict[str, Candidate] = {}
    for one in candidates:
        found.setdefault(_settings(one), one)
    return list(found.values())


def _settings(one: Candidate) -> str:
    return repr(sorted(one.overrides.items(), key=lambda item: item[0]))
