"""A search for two objectives: every trial at its two scores, the front that no other one beats in both, and the arms
that it chose on fresh seeds."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.labels import place_beside
from analysis.page.facts import Facts
from analysis.page.figures.drawing import (
    FAINT,
    INK,
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
from analysis.recorded.study import values
from analysis.sentences.pareto import ACCURACY, ACTION, front_found, measured, two_objectives
from analysis.statistics.paired import mean_interval

FEWEST = 3


def draw(facts: Facts, width: int) -> Figure:
    trials = _trials(facts)
    wide = width == WIDE
    height = 360 if wide else 340
    figure, panel = figure_of(width, height)
    front = trials[trials["front"]].sort_values(ACTION)
    panel.step(front[ACTION], front[ACCURACY], where="post", color=INK, linewidth=1)
    levels = facts.study.declared.levels
    for _, trial in trials.iterrows():
        kind = look_of(facts.study.declared.level(trial.to_dict()), levels)
        kind |= {"markersize": 7, "markeredgecolor": INK} if trial["front"] else {"markersize": 5}
        kind |= {} if trial["state"] == "complete" else {"markerfacecolor": "white"}
        (drawn,) = panel.plot(trial[ACTION], trial[ACCURACY], alpha=1 if trial["own"] else FAINT, **kind)
        if trial["own"]:
            drawn.set_gid(mark(trial["name"]))
    confirmed = _confirmed(facts, panel)
    panel.set_title(f"{len(front)} of {len(trials)} trials on the front; up and right is better", fontsize=11)
    panel.set_xlabel("R² of the actions, validation")
    panel.set_ylabel("linear accuracy (%)")
    thin_frame(panel)
    legend_below(figure, _handles(facts, trials, confirmed), 3 if wide else 1)
    bottom = 90 if wide else 130
    figure.subplots_adjust(left=0.08 if wide else 0.15, right=0.97, top=0.92, bottom=bottom / height)
    place_beside(panel, reaches=(1.7, 2.6, 4.0, 6.0))
    return figure


def describe(facts: Facts) -> str:
    return " ".join(front_found(facts.study))


def _trials(facts: Facts) -> pd.DataFrame:
    if not two_objectives(facts.study):
        raise Refused("The study searched for one objective.")
    trials = measured(facts.study)
    if int((trials["state"] == "complete").sum()) < FEWEST:
        raise Refused(f"Fewer than {FEWEST} trials have both scores at one epoch.")
    return trials


def _confirmed(facts: Facts, panel: Axes) -> bool:
    """Draw the chosen arms' means with both 95 % t intervals and their places in the search; whether there are any."""
    study, drawn = facts.study, False
    action = [name for name in study.finals if name.startswith("r2_action.") and name.endswith("/z_pair@2")]
    for key in study.arms.ordered:
        rows = study.arms.rows[key]
        up = mean_interval(values(rows, LINACC))
        # an arm has one scaling of its actions; the columns of the others are empty
        right = next((mean for name in action if (mean := mean_interval(values(rows, name))).n), None)
        if key[1] not in ("best", "candidate") or right is None or not up.n:
            continue
        drawn, colour = True, look_of(study.arms.level(key), study.declared.levels)["color"]
        error = {"xerr": _half(right.half), "yerr": _half(up.half), "ecolor": INK, "elinewidth": 1.1, "capsize": 3}
        panel.errorbar(right.mean, up.mean, fmt="D", markersize=9, color=colour, markeredgecolor=INK, zorder=5, **error)
        # not on the diamond, where another one may hide it; place_beside keeps it clear of marks and intervals
        place = 1 if pd.isna(rows["place"].iloc[0]) else rows["place"].iloc[0]
        panel.annotate(f"{place}", (right.mean, up.mean), color=INK, fontsize=11, zorder=6)
    return drawn


def _half(half: float) -> float | None:
    return None if math.isnan(half) else half


def _handles(facts: Facts, trials: pd.DataFrame, confirmed: bool) -> list[Line2D]:
    """An entry for every kind of mark that was drawn, and for no other."""
    asked, handles = facts.study.declared, []
    for name in asked.levels if asked.stratum else ():
        own = trials[trials[asked.stratum] == name]
        whole = own["state"] == "complete"
        if (whole & own["own"].astype(bool)).any():
            handles.append(entry(f"{name}, one seed", **look_of(name, asked.levels)))
    if (trials["state"] != "complete").any():
        handles.append(entry("stopped early, scores of then", markerfacecolor="white"))
    if (~trials["own"].astype(bool)).any():
        handles.append(entry("of an earlier study", alpha=FAINT))
    if confirmed:
        handles.append(entry("confirmed mean, 95 % (n ≥ 3); its place", marker="D", markeredgecolor=INK, markersize=8))
    return handles
