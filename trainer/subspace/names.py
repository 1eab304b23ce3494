"""Names of subspace metrics: ``metric/factors.code``, built and read in one place.

``subspace_ev.pooled.k2/rotation``             the metric's parts are joined by dots
``overlap.k4/rotation+shift_x``                several factors are joined by +
``circle_score.h1/rotation.pixels``            a code other than the unnamed one follows after a dot

Factor and code names may contain underscores but none of the separators, so every name reads back unambiguously.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from trainer.errors import UsageError

_FACTOR = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_@]*")


class MetricName(NamedTuple):
    """A metric's name in parts; ``code`` is empty for the code that is named after nothing."""

    metric: str
    factors: tuple[str, ...]
    code: str = ""

    def __str__(self) -> str:
        return f"{self.metric}/{'+'.join(self.factors)}{'.' if self.code else ''}{self.code}"


def metric_name(metric: str, *factors: str, code: str = "") -> str:
    """The full name.

    Raises:
        UsageError: no factor, or a name with a character outside letters, digits and _ (in a code also @).
    """
    if not factors or not all(_FACTOR.fullmatch(factor) for factor in factors):
        raise UsageError(f"factor names = {factors!r} must start with a letter and hold only letters, digits and _")
    if code and not _CODE.fullmatch(code):
        raise UsageError(f"code = {code!r} must start with a letter and hold only letters, digits, _ and @")
    return str(MetricName(metric, factors, code))


def parse_metric_name(name: str) -> MetricName:
    """The parts of a name that :func:`metric_name` built.

    Raises:
        UsageError: it has no factor.
    """
    metric, slash, feature = name.partition("/")
    factors, _, code = feature.partition(".")
    if not slash or not factors:
        raise UsageError(f"name = {name!r} is not of the form metric/factor or metric/factor.code")
    return MetricName(metric, tuple(factors.split("+")), code)
