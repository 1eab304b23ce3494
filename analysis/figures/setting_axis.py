"""A logarithmic axis of a searched number on which 0 has a place of its own, and where arms and trials stand on it."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.style import GREY
from analysis.recorded.declared import LINACC, Declared
from analysis.recorded.study import Study, values


class SettingAxis:
    """Places on a log10 axis, with one for 0 left of a break."""

    def __init__(self, given: pd.Series):
        logs = [math.log10(value) for value in given if value > 0]
        # whole decades, so that every figure of a study has round ends
        self.low, self.high = (math.floor(min(logs) + 1e-9), math.ceil(max(logs) - 1e-9)) if logs else (0, 0)
        self.has_zero, self.has_positive = bool((given == 0).any()), bool(logs)
        span = max(self.high - self.low, 1.0)
        self.zero = self.low - 0.22 * span
        self.step = 0.03 * span

    def at(self, value: float) -> float:
        return math.log10(value) if value > 0 else self.zero

    def apply(self, panel: Axes, only_zero: bool) -> None:
        """Limits, ticks at decades (labels on at most five of them), ``0`` and the mark of the break."""
        if only_zero:
            panel.set_xticks([self.zero] if self.has_zero else [], ["0"] if self.has_zero else [])
            panel.set_xlim(self.zero - 6 * self.step, self.zero + 6 * self.step)
            return
        powers = list(range(self.low, self.high + 1)) if self.has_positive else []
        every = max(1, math.ceil((len(powers) - 1) / 4))
        ticks = {float(power): "" if (self.high - power) % every else f"{10.0**power:g}" for power in powers}
        if self.has_zero:
            ticks[self.zero] = "0"
        panel.set_xticks(list(ticks), list(ticks.values()))
        margin = 2.5 * self.step
        panel.set_xlim((self.zero if self.has_zero else self.low) - margin, self.high + margin)
        if self.has_zero and self.has_positive:
            left, right = panel.get_xlim()
            middle = ((self.zero + self.low) / 2 - left) / (right - left)
            panel.text(middle, 0, "//", transform=panel.transAxes, ha="center", va="center", fontsize=11, color=GREY,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip


def placed(rows: pd.DataFrame, asked: Declared) -> pd.DataFrame:
    """Rows with their ``level`` and ``setting``, the place on the axis; without a number to set them against, all stand
    at 1."""
    level = (
        rows[asked.stratum] if asked.stratum else pd.Series(next(iter(asked.levels), "all"), rows.index, dtype=object)
    )
    setting = rows[asked.axis.name].astype(float) if asked.axis is not None else pd.Series(1.0, rows.index)
    # a copy is in one piece: pandas warns of frames that many columns were added to one after the other
    return rows.copy().assign(level=level, setting=setting).dropna(subset=["setting"])


def untrained_levels(study: Study) -> dict[str, float]:
    """Linear accuracy (percent) of the untrained encoder and of raw pixels, as far as they were measured."""
    rows = study.finals[study.finals["role"] == "untrained"]
    pixels = {"pixels, M views": "linacc/pixels_mean@M", "pixels, 1 view": "linacc/pixels@1"}
    found = {name: values(rows, metric).mean() for name, metric in {"untrained": LINACC, **pixels}.items()}
    return {name: float(value) for name, value in found.items() if pd.notna(value)}
