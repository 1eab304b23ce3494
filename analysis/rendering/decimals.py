"""How many decimals the values and differences of a metric are shown with."""

from __future__ import annotations

import math

MOST = 6
"""Decimals; what is smaller is noise of the arithmetic."""
_DECIMALS = {"linacc": 1, "knn20": 1, "rank_pr": 1, "rank_sv": 1, "rankme": 1, "r2_action": 3, "predict": 4}
"""Percentages and ranks lie in the tens; R2 is below 1, and a prediction loss far below it."""


def decimals(metric: str) -> int:
    """Of a metric by its name on record, as ``linacc/z_agg`` or ``r2_action.none/z_pair@2``."""
    return _DECIMALS.get(metric.partition("/")[0].partition(".")[0], 3)


def showing(digits: int, size: float | None) -> int:
    """At least so many decimals, and as many more as a small size needs not to be rounded to nothing."""
    if not size or not math.isfinite(size):
        return digits
    return max(digits, min(MOST, math.ceil(-math.log10(2 * abs(size)))))
