"""Whether a chosen arm stands at an end of what was tried of the study's first number."""

from __future__ import annotations

import pandas as pd

from analysis.recorded.arms import Key
from analysis.recorded.study import Study

LEAST = 3
"""Values tried; of fewer each is an end."""


def edge(study: Study, key: Key) -> str:
    """``largest`` or ``smallest`` and the symbol; "" of an arm between others. A 0 stands apart, as the axis does."""
    axis, stratum = study.declared.axis, study.declared.stratum
    value = None if axis is None else study.arms.first[key][axis.name]
    if key[1] != "best" or pd.isna(value):
        return ""
    trials = [study.search, study.warm]
    if stratum:
        trials = [one[one[stratum] == study.arms.level(key)] for one in trials]
    tried = pd.concat([one[axis.name] for one in trials]).dropna()
    if tried.nunique() < LEAST:
        return ""
    name = axis.symbol or axis.name
    if value >= tried.max():
        return f"largest {name}"
    return f"smallest {name}" if 0 < value <= tried[tried > 0].min() else ""
