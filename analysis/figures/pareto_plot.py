"""The figure of a search for two objectives: linear accuracy against R2 of the actions."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.labels import place_beside
from analysis.figures.style import DPI, FAINT, GREY, SIZE, YLABEL, colour_of, nothing
from analysis.recorded.declared import LINACC, Declared
from analysis.recorded.study import Study, values
from analysis.sentences.pareto import ACCURACY, ACTION, measured
from analysis.statistics.paired import mean_interval

_MARKS = ("o", "s", "^", "v", "D", "P")


def pareto_figure(study: Study) -> Figure:
    """Each trial at its two scores, the front joined, confirmed arms with both 95 % t intervals and their place.

    Trials that were stopped are hollow, as in the other figure: their scores are from an earlier epoch.
    """
    trials = measured(study)
    figure, panel = plt.subplots(figsize=SIZE, dpi=DPI)
    front = trials[trials["front"]].sort_values(ACCURACY)
    if len(front):
        panel.plot(front[ACTION], front[ACCURACY], color="black", linewidth=1.0, zorder=2)
    for _, trial in trials.sort_values("front").iterrows():
        _trial(panel, trial, study.declared)
    labelled = _confirmed(panel, study)
    panel.set(xlabel="R² of the actions, validation", ylabel=YLABEL)
    panel.margins(0.06)
    if not panel.has_data():
        nothing(panel, "no trial and no arm with both scores on record")
        panel.set(xlim=(0, 1), ylim=(0, 100))
    n = int((trials["state"] == "complete").sum())
    counted = f"{n} trial{'' if n == 1 else 's'} to the end, {len(front)} on the front"
    panel.set_title(f"{study.name}: {counted}; up and right is better", loc="left")
    figure.subplots_adjust(left=0.08, right=0.74, top=0.91, bottom=0.11)
    handles = _legend(trials, labelled, study.declared)
    if handles:
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.745, 0.92), frameon=False, fontsize=8.5)
    place_beside(panel, reaches=(1.7, 2.6, 4.0, 6.0))
    return figure


def _trial(panel: Axes, trial: pd.Series, asked: Declared) -> None:
    level = asked.level(trial)
    whole, colour = trial["state"] == "complete", colour_of(level, asked.levels)
    look = {"marker": _mark(level, asked), "linestyle": "", "alpha": 1 if trial["own"] and whole else FAINT}
    if trial["front"]:
        look |= {"color": colour, "markersize": 7.5, "markeredgecolor": "black", "markeredgewidth": 1.3, "zorder": 4}
    elif whole:
        look |= {"color": colour, "markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 3}
    else:
        look |= {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 4.5, "zorder": 1}
    panel.plot(trial[ACTION], trial[ACCURACY], **look)


def _confirmed(panel: Axes, study: Study) -> set[str]:
    """Draw the chosen arms' means with their places in the search; returns their levels."""
    action = [name for name in study.finals if name.startswith("r2_action.") and name.endswith("/z_pair@2")]
    drawn = set()
    for key in study.arms.ordered:
        rows = study.arms.rows[key]
        level = study.arms.level(key)
        colour = colour_of(level, study.declared.levels)
        up = mean_interval(values(rows, LINACC))
        # an arm has one scaling of its actions; the columns of the others are empty
        right = next((mean for name in action if (mean := mean_interval(values(rows, name))).n), None)
        if key[1] not in ("best", "candidate") or right is None or not up.n:
            continue
        error = {"xerr": _half(right.half), "yerr": _half(up.half), "ecolor": "black", "elinewidth": 1.1, "capsize": 3}
        look = {"markersize": 11, "color": colour, "markeredgecolor": "black", "zorder": 5}
        panel.errorbar(right.mean, up.mean, fmt="D", **look, **error)
        # not on the diamond, where another one may hide it; place_beside keeps it clear of marks and intervals
        place = 1 if pd.isna(rows["place"].iloc[0]) else rows["place"].iloc[0]
        text = {"color": colour, "fontsize": 8.5, "fontweight": "bold", "zorder": 6}
        panel.annotate(f"{place}", (right.mean, up.mean), **text)
        drawn.add(level)
    return drawn


def _mark(level: str | None, asked: Declared) -> str:
    return _MARKS[asked.levels.index(level) % len(_MARKS)] if level in asked.levels else "X"


def _half(half: float) -> float | None:
    return None if math.isnan(half) else half


def _legend(trials: pd.DataFrame, confirmed: set[str], asked: Declared) -> list[Line2D]:
    """An entry for every kind of mark that was drawn, and for no other."""

    def entry(label: str, **look: object) -> Line2D:
        return Line2D([], [], **{"linestyle": "", "color": GREY, "label": label, "markersize": 6} | look)

    handles = []
    of_level = (
        trials[asked.stratum] if asked.stratum else pd.Series(next(iter(asked.levels), ""), trials.index, dtype=object)
    )
    for name in (name for name in asked.levels if name in set(of_level) | confirmed):
        own = trials[of_level == name]
        look = {"color": colour_of(name, asked.levels), "marker": _mark(name, asked) if len(own) else "D"}
        whole = own["state"] == "complete"
        if len(own) and not (whole & own["own"].astype(bool)).any():
            look |= {"alpha": FAINT} | ({} if whole.any() else {"markerfacecolor": "white"})
        handles.append(entry(f"{name if asked.stratum else 'trial'}, one seed" if len(own) else name, **look))
    if trials["front"].any():
        handles.append(
            entry("front: no trial is better\nin both", marker="o", color="black", markerfacecolor=GREY, linestyle="-")
        )
    if (trials["state"] != "complete").any():
        handles.append(
            entry("hollow: stopped early,\nscores of that epoch", marker="o", markerfacecolor="white", alpha=FAINT)
        )
    if (~trials["own"].astype(bool) & (trials["state"] == "complete")).any():
        handles.append(
            entry("faint: taken over from\nan earlier study", marker="o", markeredgecolor="white", alpha=FAINT)
        )
    if confirmed:
        label = "confirmed: mean, 95 % t\nintervals if n ≥ 3; number:\nplace in the search"
        handles.append(entry(label, marker="D", markeredgecolor="black", markersize=8))
    return handles
