"""A search for two objectives: every trial at its two scores, and the front that no other one beats in both."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.page.facts import Facts
from analysis.page.figures.drawing import INK, WIDE, Refused, figure_of, look, mark, thin_frame
from analysis.sentences.pareto import ACCURACY, ACTION, front_found, measured, two_objectives

FEWEST = 3


def draw(facts: Facts, width: int) -> Figure:
    trials = _trials(facts)
    wide = width == WIDE
    figure, panel = figure_of(width, 330 if wide else 300)
    levels = facts.study.declared.levels
    front = trials[trials["front"]].sort_values(ACTION)
    panel.step(front[ACTION], front[ACCURACY], where="post", color=INK, linewidth=1)
    for _, trial in trials.iterrows():
        level = facts.study.declared.level(trial.to_dict())
        kind = look(levels.index(level) if level in levels else 0)
        kind |= {"markersize": 7, "markeredgecolor": INK} if trial["front"] else {"markersize": 5}
        kind |= {} if trial["state"] == "complete" else {"markerfacecolor": "white"}
        (drawn,) = panel.plot(trial[ACTION], trial[ACCURACY], **kind)
        if trial["own"]:
            drawn.set_gid(mark(trial["name"]))
    panel.set_title(f"{len(front)} of {len(trials)} trials on the front; up and right is better", fontsize=11)
    panel.set_xlabel("R² of the actions, validation")
    panel.set_ylabel("search score (%)")
    thin_frame(panel)
    figure.subplots_adjust(left=0.08 if wide else 0.15, right=0.97, top=0.9, bottom=0.16)
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
