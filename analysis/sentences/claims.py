"""One comparison in words: what its decision allows to be said, and no more."""

from __future__ import annotations

import pandas as pd

from analysis.rendering.decimals import decimals
from analysis.rendering.render import between, interval, p_value, smallest
from analysis.statistics.family import DIVERGED, EXPLORATORY, NO_VERDICT, NOT_RESOLVED, PENDING
from trainer.record.resolvable import MAX_SEEDS, POWER


def claim(line: pd.Series) -> str:
    """``better: difference +3.1 [+0.4, +5.8] (adjusted interval, ...)`` from a row of ``differences``."""
    digits = decimals(line["metric"])
    pairs = f"n = {line['n']} pair{'' if line['n'] == 1 else 's'}"
    pairs += f", {line['dropped']} dropped" if line["dropped"] else ""
    if line["verdict"] in (NO_VERDICT, PENDING) or pd.isna(line["low"]):
        return (
            f"observed difference {interval(line['mean'], line['low'], line['high'], digits)} ({pairs})"
            if line["n"]
            else f"no difference known ({pairs})"
        )
    if line["verdict"] == EXPLORATORY:
        return (
            f"difference {interval(line['mean'], line['low'], line['high'], digits)} (exploratory: unadjusted interval,"
            f" {pairs})"
        )
    of_rest = "of the other seeds " if line["verdict"] == DIVERGED else ""
    adjusted = f"{of_rest}difference {interval(line['mean'], line['adjusted_low'], line['adjusted_high'], digits)}"
    alone = f"unadjusted {between(line['low'], line['high'], digits)}"
    tested = f"{pairs}, {alone}, Holm p {p_value(line['p_holm'])}"
    if line["verdict"] != NOT_RESOLVED:
        return f"{line['verdict']}: {adjusted} (adjusted interval, {tested})"
    return f"not resolved: {adjusted} (the adjusted interval includes 0; {tested}; {could_resolve(line)})"


def could_resolve(line: pd.Series) -> str:
    """The smallest difference that this study could have resolved, beside every "not resolved"."""
    needed, digits = line["seeds_needed"], decimals(line["metric"])
    seeds = f"about {needed} seeds" if pd.notna(needed) else f"more than {MAX_SEEDS} seeds"
    to_resolve = f"; one as observed needs {seeds}, were mean and s.d. to stay" if line["mean"] else ""
    return (
        f"at this spread and n an observed difference of {smallest(line['resolvable'], digits)} would have been"
        f" resolved, a true one of {smallest(line['resolvable_with_power'], digits)} in {100 * POWER:.0f} % of"
        f" studies{to_resolve}"
    )


def unresolved(line: pd.Series) -> str:
    """The same for a cell: ``not resolved, needs 11.3``."""
    return f"{NOT_RESOLVED}, needs {smallest(line['resolvable'], decimals(line['metric']))}"
