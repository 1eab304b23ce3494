"""What the search scored, against its first number: full-length trials, stopped ones with their epoch, trials without a
score, and the confirmed arms with their intervals. A panel per level, at most four, and in all of them what needs no
training."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.labels import place_beside
from analysis.figures.setting_axis import SettingAxis, placed, untrained_levels
from analysis.page.facts import Facts
from analysis.page.figures.drawing import (
    FAINT,
    INK,
    SINGLE,
    SOFT,
    WIDE,
    Refused,
    entry,
    figure_of,
    legend_below,
    look_of,
    mark,
    thin_frame,
)
from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study, values
from analysis.recorded.trials import all_trials
from analysis.statistics.paired import mean_interval

PANELS = 4
WORDS = "linear accuracy, percent on validation"
_ONLY_ZERO, _DECADES = 1.6, 5
"""Widths of panels: a level that was only run at 0 needs no axis of decades."""
_UNTRAINED = {"untrained": (0, (5, 3)), "pixels, M views": (0, (1, 2)), "pixels, 1 view": (0, (7, 2, 1, 2))}
"""Line styles of the levels that need no training."""


def draw(facts: Facts, width: int) -> Figure:
    study, asked = facts.study, facts.study.declared
    every = placed(all_trials(study.search, study.warm), asked)
    arms = _means(study)
    if every.empty and not arms:
        raise Refused("Nothing was searched." if not study.info.get("num_trials") else "No trial has started yet.")
    if every["value"].isna().all() and not arms:
        raise Refused(f"No score: none of {len(every)} trials has one.")
    found = set(every["level"].dropna()) | {arm["level"] for arm in arms}
    levels = [name for name in asked.levels if name in found] + sorted(found - set(asked.levels))
    levels = levels[:PANELS]
    axis = SettingAxis(pd.concat([every["setting"].dropna(), pd.Series([arm["setting"] for arm in arms], dtype=float)]))
    above_zero = set(every.loc[every["setting"] > 0, "level"]) | {arm["level"] for arm in arms if arm["setting"] > 0}
    wide = width == WIDE
    # one below the other the panels share their axis
    alone = [wide and axis.has_positive and name not in above_zero for name in levels]
    rows, columns = (1, len(levels)) if wide else (len(levels), 1)
    height = 320 if wide else 70 + 210 * len(levels)
    ratios = [_ONLY_ZERO if narrow else _DECADES for narrow in alone] if wide else None
    figure, panels = figure_of(width, height, nrows=rows, ncols=columns, sharey=True, sharex=not wide, squeeze=False,
                               width_ratios=ratios)  # fmt: skip
    marks: set[str] = set()
    for panel, level, narrow in zip(panels.flat, levels, alone, strict=True):
        kind = look_of(level, asked.levels)
        marks |= _trials(panel, axis, every[every["level"] == level], kind)
        marks |= _confirmed(panel, axis, [arm for arm in arms if arm["level"] == level], kind["color"])
        panel.set_title(f"{level}" if asked.stratum else "", fontsize=11)
        axis.apply(panel, only_zero=narrow or not axis.has_positive)
        thin_frame(panel)
    lines = _untrained_lines(list(panels.flat), study)
    low, high = panels.flat[0].get_ylim()
    if high - low < 2:
        panels.flat[0].set_ylim(low - 1, high + 1)
    handles = [*_handles(marks, sorted({arm["n"] for arm in arms})), *lines]
    across = 4 if wide else 2
    legend_below(figure, handles, across)
    more = 17 * max(0, math.ceil(len(handles) / across) - (1 if wide else 2))
    height += more
    figure.set_size_inches(width / 72, height / 72)
    of = "" if asked.axis is None else asked.axis.title or asked.axis.name
    scale = f"{of} (log scale{'; 0 apart' if axis.has_zero else ''})" if of else ""
    words = f"{WORDS} ({_counted(facts)})" if len(every) else WORDS
    figure.suptitle(words, fontsize=11, x=0.01, ha="left", y=0.995, va="top")
    figure.supxlabel(scale, fontsize=11, y=((32 if wide else 40) + more) / height)
    figure.subplots_adjust(left=0.06 if wide else 0.11, right=0.985, top=1 - 48 / height,
                           bottom=((76 if wide else 96) + more) / height,
                           wspace=0.05, hspace=0.22)  # fmt: skip
    for panel in panels.flat:
        place_beside(panel, reaches=(1.6, 2.4))
    return figure


def describe(facts: Facts) -> str:
    search = facts.study.search
    whole = search[search["state"] == "complete"]
    if search["value"].notna().any():
        best = search.loc[search["value"].idxmax()] if whole.empty else whole.loc[whole["value"].idxmax()]
        lead = f"; best of those that reached the end: {best['value']:.1f} by {best['name']}" if len(whole) else ""
    else:
        lead = "; none has a score"
    axis = facts.study.declared.axis
    against = f" against {axis.title or axis.name}" if axis else ""
    said = f"{WORDS}{against}: {_counted(facts)}{lead}."
    return f"{said} Hollow marks were stopped early, at the epoch beside them."


def _counted(facts: Facts) -> str:
    ended = int((facts.study.search["state"] != "unfinished").sum())
    planned = facts.progress.trials_planned
    of = f"{ended} of {planned} trials" if ended < planned else f"{ended} trials"
    unseen = int(facts.study.search["value"].isna().sum()) - (len(facts.study.search) - ended)
    return of + (f", {unseen} without a score" if unseen > 0 else "")


def _trials(panel: Axes, axis: SettingAxis, trials: pd.DataFrame, kind: dict[str, Any]) -> set[str]:
    """Each trial a mark that leads to its row; of very many, marks alone."""
    ended = trials[trials["state"] != "unfinished"]
    scored, lost = ended.dropna(subset=["value"]), ended[ended["value"].isna()]
    marks = {"rug"} if len(lost) else set()
    if len(lost):
        panel.plot([axis.at(value) for value in lost["setting"]], [0.015] * len(lost), "|", color=SOFT, markersize=9,
                   transform=panel.get_xaxis_transform())  # fmt: skip
    # in front of the arms' diamonds, which are where the best trial is
    kind = kind | {"markersize": 6, "markeredgewidth": 1.2, "zorder": 6}
    looks = {
        True: ("whole", {"markerfacecolor": kind["color"], "markeredgecolor": "white"}),
        False: ("stopped", {"markerfacecolor": "white"}),
    }
    if len(scored) > SINGLE:
        for (whole, own), group in scored.groupby([scored["state"] == "complete", scored["own"].astype(bool)]):
            how, look = looks[bool(whole)]
            marks.add(how if own else "taken over")
            places = [axis.at(value) for value in group["setting"]]
            panel.plot(places, group["value"], alpha=0.8 if own else FAINT, **kind, **look)
        return marks
    for value, group in scored.groupby("setting"):
        for place, trial in enumerate(group.sort_values("value").to_dict("records")):
            # several trials at one value (a grid, or 0) are drawn side by side
            x = axis.at(value) + axis.step * (place - (len(group) - 1) / 2)
            how, look = looks[trial["state"] == "complete"]
            marks.add(how if trial["own"] else "taken over")
            alpha = 1 if trial["own"] else FAINT
            (drawn,) = panel.plot(x, trial["value"], alpha=alpha, **kind, **look)
            if trial["own"]:
                drawn.set_gid(mark(trial["name"]))
            if how == "stopped" and pd.notna(trial["epoch"]):
                panel.annotate(f"{trial['epoch']}", (x, trial["value"]), fontsize=11, color=INK)
    return marks


def _means(study: Study) -> list[dict[str, Any]]:
    """Level, setting, role, n, mean and half of the interval (NaN where there is none) of each arm with a score."""
    found = []
    for key in study.arms.ordered:
        rows = placed(study.arms.rows[key], study.declared)
        if key[1] == "untrained" or rows.empty or pd.isna(rows["level"].iloc[0]):
            continue
        mean = mean_interval(values(rows, LINACC))
        if mean.n:
            first = {"level": rows["level"].iloc[0], "setting": rows["setting"].iloc[0], "role": key[1]}
            found.append(first | {"mean": mean.mean, "half": mean.half, "n": mean.n})
    return found


def _confirmed(panel: Axes, axis: SettingAxis, arms: list[dict[str, Any]], colour: str) -> set[str]:
    marks = set()
    for arm in arms:
        further = arm["role"] == "candidate"
        marks.add("further" if further else "confirmed")
        error = None if math.isnan(arm["half"]) else arm["half"]
        panel.errorbar(axis.at(arm["setting"]), arm["mean"], yerr=error, fmt="D", markersize=6 if further else 8,
                       capsize=4, color=colour, markeredgecolor=INK, ecolor=INK, elinewidth=1.3,
                       zorder=4.9 if further else 5)  # fmt: skip
    return marks


def _untrained_lines(panels: list[Axes], study: Study) -> list[Line2D]:
    """Draw what the untrained encoder and raw pixels reach; returns the legend's entries."""
    handles = []
    for name, value in untrained_levels(study).items():
        look = {"color": SOFT, "linewidth": 0.9, "linestyle": _UNTRAINED[name]}
        for panel in panels:
            panel.axhline(value, zorder=1, **look)
        handles.append(Line2D([], [], label=f"{name} {value:.1f}", **look))
    return handles


def _handles(marks: set[str], seeds: list[int]) -> list[Line2D]:
    """An entry for every kind of mark that was drawn, and for no other; ``seeds``: of the confirmed arms."""
    counted = " to ".join(map(str, dict.fromkeys(seeds[:1] + seeds[-1:])))
    diamond = {"marker": "D", "markeredgecolor": INK}
    entries = {
        "whole": entry("full length"),
        "stopped": entry("stopped, at epoch", markerfacecolor="white"),
        "taken over": entry("of an earlier study", alpha=FAINT),
        "rug": entry("no score", marker="|", markersize=9),
        "confirmed": entry(f"confirmed mean, 95 % (n = {counted})", markersize=8, **diamond),
        "further": entry("confirmed, 2nd, 3rd, …", **diamond),
    }
    return [handle for kind, handle in entries.items() if kind in marks]
