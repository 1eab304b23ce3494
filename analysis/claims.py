"""One comparison in words: what its verdict allows to be said, and no more."""

from __future__ import annotations

import pandas as pd

from analysis.compare import CONFIDENCE, MAX_SEEDS, NO_VERDICT, NOT_RESOLVED
from analysis.render import interval, p_value


def claim(line: pd.Series) -> str:
    """``better: difference +3.1 [+1.0, +5.2] (n = 5 pairs, ...)`` from a row of ``differences``."""
    n = f"n = {line['n']} pairs" + (f", {line['dropped']} dropped" if line["dropped"] else "")
    numbers = "difference " + interval(line["mean"], line["low"], line["high"])
    if line["verdict"] == NO_VERDICT:
        return f"{NO_VERDICT} (observed {numbers}, {n})" if line["n"] else f"{NO_VERDICT} ({n})"
    if line["verdict"] == NOT_RESOLVED:
        needed = line["seeds_needed"]
        seeds = f"about {needed} seeds" if pd.notna(needed) else f"more than {MAX_SEEDS} seeds"
        return f"not resolved: {numbers} ({n}; {seeds} would be needed at the observed spread)"
    adjusted = "" if line["p_holm"] < 1 - CONFIDENCE else ": not resolved once adjusted for all comparisons"
    return f"{line['verdict']}: {numbers} ({n}, Holm p {p_value(line['p_holm'])}{adjusted})"
