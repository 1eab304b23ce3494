"""What a study declares before its data, as plain values: they are written into study.json, and are all the analysis
knows of it.

The declaration cannot be changed once the study has begun. Comparisons that are not declared are exploratory: the
report gives them intervals and no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from studies.engine.metrics import LINACC, Metric, metric
from trainer.errors import UsageError

WORDS = ("better", "worse", "not resolved")
MOST = 6
"""Primary contrasts of one study: each one more makes all of them harder to resolve."""


@dataclass(frozen=True)
class Contrast:
    """Arm minus reference in one metric; adjusted together with the study's others.

    Attributes:
        question: what it tells, in a few words.
        arm, reference: keys of arms. The searched ones are ``best/<level>`` and ``best/<level>/<reference's role>``,
            without strata ``best`` and ``best/<role>``.
        metric: name on record, ``@M`` standing for the run's number of views; None for the study's.
        asks: the question in full, as the head of its sentence.
        words: sentences of the study's own by verdict, said after ``asks``: ``better``, ``worse``, ``not resolved``.
        measures, unit, higher: of the metric, see :class:`studies.engine.metrics.Metric`; filled in by the declaration.
    """

    question: str
    arm: str
    reference: str
    metric: str | None = None
    asks: str = ""
    words: dict[str, str] = field(default_factory=dict)
    measures: str = ""
    unit: str = ""
    higher: bool = True

    def measured(self, default: str) -> Contrast:
        """The same with its metric, ``default`` where it names none. Raises UsageError for one that no study
        records."""
        found = metric(self.metric or default)
        return replace(self, metric=found.name, measures=found.words, unit=found.unit, higher=found.higher)


@dataclass(frozen=True)
class Column:
    """A setting of the arms that tables and names show.

    Attributes:
        name: of the column.
        key: the configuration key behind it.
        symbol: what stands for it in names and figures.
        number: whether its values are numbers.
        title: the label of its axis; "" for its name.
    """

    name: str
    key: str
    symbol: str = ""
    number: bool = False
    title: str = ""


@dataclass(frozen=True)
class Declaration:
    """See :class:`studies.engine.question.Question`, whose plain values these are.

    Attributes:
        stratum: name of the column whose ``levels`` are searched separately, None if there is one search.
        reference: role of the arms that the best ones are compared with, None if there are none.
        reference_settings: what the reference of a searched arm has instead, as (configuration key, value), by key.
        controls: what each control must do, by its key: ``collapse``, or ``start`` for an untrained encoder.
        predicts: epochs whose order of the trials is compared with that of the last epoch.
        also: metrics that the first table shows beside the study's.
    """

    question: str = ""
    contrasts: tuple[Contrast, ...] = ()
    metric: Metric = metric(LINACC)
    stratum: str | None = None
    levels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    reference: str | None = None
    reference_settings: tuple[tuple[str, Any], ...] = ()
    controls: dict[str, str] = field(default_factory=dict)
    predicts: tuple[int, ...] = ()
    also: tuple[Metric, ...] = ()

    def best(self, level: str) -> str:
        """Key of the best arm of a level."""
        return f"best/{level}" if self.stratum else "best"

    def check(self, keys: Iterable[str], levels: Iterable[str]) -> None:
        """Refuse a contrast between arms that the study will not have, and two that cannot be told apart.

        Raises UsageError.

        Args:
            keys: of the arms known before the search.
            levels: whose best arms the search chooses.
        """
        endings = ("", f"/{self.reference}") if self.reference else ("",)
        known = {*keys, *(f"{self.best(level)}{ending}" for level in levels for ending in endings)}
        if len(self.contrasts) > MOST:
            raise UsageError(
                f"{len(self.contrasts)} primary contrasts are declared, at most {MOST} are allowed; leave the others"
                " exploratory"
            )
        asked, compared = set(), {}
        for one in self.contrasts:
            if one.question in asked:
                raise UsageError(
                    f"contrast {one.question!r}: is declared twice; each contrast needs a question of its own"
                )
            asked.add(one.question)
            comparison = (frozenset((one.arm, one.reference)), one.metric)
            if comparison in compared:
                raise UsageError(
                    f"contrast {one.question!r}: compares the same as {compared[comparison]!r}; remove one of them"
                )
            compared[comparison] = one.question
            if unknown := next((word for word in one.words if word not in WORDS), None):
                raise UsageError(
                    f"contrast {one.question!r}: words for {unknown!r}, which no verdict is; it is {', '.join(WORDS)}"
                )
            for key in (one.arm, one.reference):
                if key not in known:
                    raise UsageError(
                        f"contrast {one.question!r}: no arm {key!r}; the study has {', '.join(sorted(known)) or 'none'}"
                    )
            if one.arm == one.reference:
                raise UsageError(f"contrast {one.question!r}: compares {one.arm!r} with itself; name two arms")


def as_recorded(value: Any) -> Any:
    """A value of the configuration as a column holds it: a number, a word, or None."""
    value = tuple(value) if isinstance(value, list) else value  # as the configuration has it
    return value if value is None or isinstance(value, str | int | float) else str(value)
