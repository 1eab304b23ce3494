"""What the search scored, against its first number: full-length trials, stopped ones with their epoch, trials without a
score, and the confirmed arms with their intervals. A panel per level, at most four."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.labels import place_beside
from analysis.figures.setting_axis import SettingAxis, placed
from analysis.page.facts import Facts
from analysis.page.figures.drawing import INK, SINGLE, SOFT, WIDE, Refused, figure_of, look, mark, thin_frame
from analysis.recorded.declared import LINACC
from analysis.recorded.study import values
from analysis.recorded.trials import all_trials
from analysis.statistics.paired import mean_interval

PANELS = 4
WORDS = "search score, percent on validation"


def draw(facts: Facts, width: int) -> Figure:
    study, asked = facts.study, facts.study.declared
    every = placed(all_trials(study.search, study.warm), asked)
    if every.empty:
        raise Refused("Nothing was searched." if not study.info.get("num_trials") else "No trial has started yet.")
    search = every[every["value"].notna()]
    if search.empty:
        raise Refused(f"No score: none of {len(every)} trials has one.")
    levels = [name for name in asked.levels if (every["level"] == name).any()] or list(every["level"].unique())
    levels = levels[:PANELS]
    confirmed = placed(study.finals[study.finals["role"] != "untrained"], asked)
    axis = SettingAxis(pd.concat([every["setting"], confirmed["setting"]]).dropna())
    wide = width == WIDE
    rows, columns = (1, len(levels)) if wide else (len(levels), 1)
    height = 320 if wide else 70 + 210 * len(levels)
    figure, panels = figure_of(width, height, nrows=rows, ncols=columns, sharey=True,
                               sharex=not wide, squeeze=False)  # fmt: skip
    marks: set[str] = set()
    for index, (panel, level) in enumerate(zip(panels.flat, levels, strict=True)):
        marks |= _trials(panel, axis, every[every["level"] == level], look(index))
        marks |= _confirmed(facts, panel, axis, level, look(index)["color"])
        panel.set_title(f"{level}" if asked.stratum else "", fontsize=11)
        axis.apply(panel, only_zero=not axis.has_positive)
        thin_frame(panel)
    low, high = panels.flat[0].get_ylim()
    if high - low < 2:
        panels.flat[0].set_ylim(low - 1, high + 1)
    of = "" if asked.axis is None else asked.axis.title or asked.axis.name
    scale = f"{of} (log scale{'; 0 apart' if axis.has_zero else ''})" if of else ""
    figure.suptitle(f"{WORDS} ({_counted(facts)})", fontsize=11, x=0.01, ha="left", y=0.995, va="top")
    figure.supxlabel(scale, fontsize=11, y=0.1 if wide else 40 / height)
    _legend(figure, marks, wide)
    figure.subplots_adjust(left=0.06 if wide else 0.11, right=0.985, top=1 - 48 / height,
                           bottom=(76 if wide else 96) / height,
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
    kind = kind | {"markersize": 6, "markeredgewidth": 1.2, "zorder": 4}
    faces = {True: ("whole", kind["color"]), False: ("stopped", "white")}
    if len(scored) > SINGLE:
        for (whole, own), group in scored.groupby([scored["state"] == "complete", scored["own"].astype(bool)]):
            how, face = faces[bool(whole)]
            marks.add(how)
            places = [axis.at(value) for value in group["setting"]]
            panel.plot(places, group["value"], markerfacecolor=face, alpha=0.8 if own else 0.45, **kind)
        return marks
    for value, group in scored.groupby("setting"):
        for place, trial in enumerate(group.sort_values("value").to_dict("records")):
            # several trials at one value (a grid, or 0) are drawn side by side
            x = axis.at(value) + axis.step * (place - (len(group) - 1) / 2)
            how, face = faces[trial["state"] == "complete"]
            marks.add(how)
            alpha = 1 if trial["own"] else 0.45
            (drawn,) = panel.plot(x, trial["value"], markerfacecolor=face, alpha=alpha, **kind)
            if trial["own"]:
                drawn.set_gid(mark(trial["name"]))
            if how == "stopped" and pd.notna(trial["epoch"]):
                panel.annotate(f"{trial['epoch']}", (x, trial["value"]), fontsize=11, color=INK)
    return marks


def _confirmed(facts: Facts, panel: Axes, axis: SettingAxis, level: str, colour: str) -> set[str]:
    marks = set()
    for key in facts.study.arms.ordered:
        rows = placed(facts.study.arms.rows[key], facts.study.declared)
        if key[1] == "untrained" or rows.empty or rows["level"].iloc[0] != level:
            continue
        mean = mean_interval(values(rows, LINACC))
        if mean.n:
            marks.add("confirmed")
            error = None if math.isnan(mean.half) else mean.half
            panel.errorbar(axis.at(rows["setting"].iloc[0]), mean.mean, yerr=error, fmt="D", markersize=8, capsize=4,
                           color=colour, markeredgecolor=INK, ecolor=INK, elinewidth=1.3, zorder=5)  # fmt: skip
    return marks


def _legend(figure: Figure, marks: set[str], wide: bool) -> None:
    def entry(label: str, **look: object) -> Line2D:
        return Line2D(
            [], [], **({"linestyle": "", "marker": "o", "color": SOFT, "markersize": 6, "label": label} | look)
        )

    entries = {
        "whole": entry("full length"),
        "stopped": entry("stopped, at epoch", markerfacecolor="white"),
        "rug": entry("no score", marker="|", markersize=9),
        "confirmed": entry("confirmed, 95 % from 3 seeds", marker="D", markeredgecolor=INK, markersize=8),
    }
    handles = [handle for kind, handle in entries.items() if kind in marks]
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=4 if wide else 2,
                  handletextpad=0.3, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip
