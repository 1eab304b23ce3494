"""How many samples a run needs until a metric of its training reaches a threshold and keeps it.

Of a run's measurements in their order the first counts from which on none is below the threshold, so one lucky check is
no arrival. A run whose last measurement is below it has not reached it: its number is infinity, so that the median over
seeds is "not reached" if half of them, or more, have not.
"""

from __future__ import annotations

import math
import re

import pandas as pd

from analysis.frames.read import Frames
from analysis.rendering.layout import Sheet
from trainer.errors import UsageError

METRIC = "progressive_linacc/z_agg"
"""Accuracy on what a stream brings next, before anything has learnt from it."""
NOT_REACHED = "not reached"


def samples_to(epochs: pd.DataFrame, threshold: float, metric: str = METRIC) -> pd.DataFrame:
    """A row per run that recorded the metric: study, arm_id, run_id, seed and ``samples``, infinity if not reached.

    Args:
        epochs: of :func:`analysis.load`.
        metric: with its number of views or without.
    """
    column = _column(epochs, metric)
    known = epochs[epochs[column].notna()].sort_values("epoch")
    rows = []
    for (study, run), lines in known.groupby(["study", "run_id"], sort=False):
        # from the last measurement below the threshold on, all are at or above it
        below = (lines[column] < threshold).to_numpy().nonzero()[0]
        first = below[-1] + 1 if len(below) else 0
        samples = float(lines["samples_seen"].iloc[first]) if first < len(lines) else math.inf
        one = lines.iloc[0]
        rows.append({"study": study, "arm_id": one["arm_id"], "run_id": run, "seed": one["seed"], "samples": samples})
    return pd.DataFrame(rows, columns=["study", "arm_id", "run_id", "seed", "samples"])


def threshold_sheet(frames: Frames, threshold: float, metric: str = METRIC) -> Sheet:
    """A row per compared arm: how many of its runs reach the threshold, and their samples, least, median and most.

    Raises:
        UsageError: no study, or no run of it recorded the metric; which ones it has.
    """
    found = samples_to(frames.epochs, threshold, metric)
    rows = []
    for _, arm in frames.arms[frames.arms["origin"] == "study"].iterrows():
        seeds = frames.runs[(frames.runs["study"] == arm["study"]) & (frames.runs["phase"] == "verdict")]["seed"]
        of_arm = found[(found["study"] == arm["study"]) & (found["arm_id"] == arm["arm_id"])]
        own = of_arm[of_arm["seed"].isin(set(seeds))]["samples"]
        reached = f"{int((own < math.inf).sum())} of {len(own)}" if len(own) else "not recorded"
        rows.append([arm["study"], arm["arm"], reached, *(_told(own, share) for share in (0.0, 0.5, 1.0))])
    if not rows:
        raise UsageError("no compared arm is on record yet; give the folder of a study that has some")
    return Sheet(
        f"Samples until {metric} is {threshold:g} and stays there",
        ["study", "arm", "reached", "least", "median", "most"],
        rows,
        3,
        notes=("Measured at the run's own checks. A run that ends below the threshold counts as later than any.",),
    )


def _told(samples: pd.Series, share: float) -> str:
    """The order statistic at a share of the runs; of an even number the later of the middle two."""
    if samples.empty:
        return ""
    value = samples.sort_values().iloc[min(len(samples) - 1, math.floor(share * len(samples)))]
    return NOT_REACHED if math.isinf(value) else f"{value:,.0f}"


def _column(epochs: pd.DataFrame, metric: str) -> str:
    wanted = re.compile(re.escape(metric) + r"(@\d+)?")
    names = [name for name in epochs.columns if "/" in name and epochs[name].notna().any()]
    if found := [name for name in names if wanted.fullmatch(name)]:
        return found[0]
    like = sorted({name.partition("@")[0] for name in names if "linacc" in name and ".seg" not in name})
    raise UsageError(
        f"{metric!r}: no run of these studies recorded it; accuracies on record: {', '.join(like) or 'none'}"
    )
