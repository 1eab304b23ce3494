"""Effective rank of every run at its last measured epoch, as part of what it was before training: the line at one half
is where a run counts as collapsed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from analysis.page.facts import Facts
from analysis.page.figures.drawing import INK, SINGLE, SOFT, WIDE, Refused, cut, figure_of, look, mark, thin_frame
from analysis.recorded.runs import COLLAPSED_BELOW
from analysis.recorded.study import values
from analysis.rendering.render import number
from analysis.statistics.differences import RANKS

MOST = 14
"""Rows of arms."""


def draw(facts: Facts, width: int) -> Figure:
    ratios = _ratios(facts)
    groups = list(dict.fromkeys(ratios["group"]))[: MOST + 1]
    wide = width == WIDE
    height = 70 + 24 * len(groups)
    figure, panel = figure_of(width, height)
    for row, group in enumerate(reversed(groups)):
        runs = ratios[ratios["group"] == group]
        for low, part in runs.groupby(runs["ratio"] < COLLAPSED_BELOW):
            if len(part) > SINGLE:
                panel.plot(part["ratio"], [row] * len(part), alpha=0.3, markersize=6, **look(int(low)))
                continue
            for run in part.to_dict("records"):
                (drawn,) = panel.plot(run["ratio"], row, alpha=0.85, markersize=6, **look(int(low)))
                drawn.set_gid(mark(run["id"]))
    panel.axvline(COLLAPSED_BELOW, color=INK, linewidth=1)
    panel.axvline(1.0, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    panel.set_xscale("log")
    low, high = ratios["ratio"].min(), ratios["ratio"].max()
    panel.set_xlim(min(0.25, low * 0.8), max(2.0, high * 1.25))
    panel.xaxis.set_major_locator(_ticks(*panel.get_xlim()))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    room = 26 if wide else 18
    panel.set_yticks(range(len(groups)), [cut(name, room) for name in reversed(groups)])
    panel.set_ylim(-0.6, len(groups) - 0.4)
    words = f"rank of z / untrained (log); left of {COLLAPSED_BELOW:g}: collapsed"
    panel.set_xlabel(f"effective {words}" if wide else words, x=1.0, ha="right")
    thin_frame(panel)
    figure.subplots_adjust(left=0.27 if wide else 0.4, right=0.97, top=1 - 8 / height, bottom=48 / height)
    return figure


def _ticks(low: float, high: float) -> FixedLocator:
    return FixedLocator([value for value in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= value <= high])


def describe(facts: Facts) -> str:
    ratios = _ratios(facts)
    low = int((ratios["ratio"] < COLLAPSED_BELOW).sum())
    parts = [f"{group} {number(rows['ratio'].median(), 2)}" for group, rows in ratios.groupby("group", sort=False)]
    return f"{low} of {len(ratios)} runs are below {COLLAPSED_BELOW:g}. Medians: {', '.join(parts[:MOST])}."


def _ratios(facts: Facts) -> pd.DataFrame:
    """One row per run: id, group, ratio."""
    curves = facts.study.curves
    ranked = curves.assign(rank=values(curves, RANKS[0])).dropna(subset=["rank"]).sort_values("epoch")
    start = ranked[ranked["epoch"] == 0].set_index("run_id")["rank"]
    if start.empty:
        raise Refused("No run has an effective rank at epoch 0, which the others are compared with.")
    end = ranked[ranked["epoch"] > 0].groupby("run_id")["rank"].last()
    ratio = (end / start.where(start > 0)).dropna()
    if ratio.empty:
        raise Refused("No run has an effective rank after training yet.")
    order = {key: place for place, key in enumerate(facts.study.arms.ordered)}
    named = facts.study.search.dropna(subset=["run_id"]).set_index("run_id")["name"]
    rows = []
    for run_id, value in ratio.items():
        key = facts.of_run.get(run_id)
        if key is not None and key[1] != "untrained":
            rows.append((order[key], run_id, facts.names[key], value))
        elif run_id in named.index:
            rows.append((len(order), named[run_id], "search trials", value))
    if not rows:
        raise Refused("No run of this study has an effective rank yet.")
    frame = pd.DataFrame(rows, columns=["order", "id", "group", "ratio"])
    return frame.sort_values("order", kind="stable").reset_index(drop=True)
