"""Whether the first judgement of a trial predicts where it ends: a dot per trial that was trained to the end."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.page.facts import Facts
from analysis.page.figures.drawing import SINGLE, WIDE, Refused, figure_of, look, mark, thin_frame
from analysis.recorded.declared import LINACC
from analysis.recorded.study import values
from analysis.rendering.render import number
from analysis.sentences.predicted import agreement

FEWEST = 8
"""Trials without which a rank correlation is anything at all."""


def draw(facts: Facts, width: int) -> Figure:
    both, first, last = _pairs(facts)
    wide = width == WIDE
    figure, panel = figure_of(width, 320 if wide else 300)
    levels = facts.study.declared.levels
    search = facts.study.search.set_index("run_id").loc[both.index]
    level = [facts.study.declared.level(trial) for trial in search.to_dict("records")]
    index = pd.Series([levels.index(name) if name in levels else 0 for name in level], both.index)
    for place, group in both.groupby(index):
        if len(both) > SINGLE:
            panel.plot(group[first], group[last], markersize=5, alpha=0.7, **look(place))
            continue
        for run_id, row in group.iterrows():
            (drawn,) = panel.plot(row[first], row[last], markersize=6, **look(place))
            drawn.set_gid(mark(search.loc[run_id, "name"]))
    panel.set_title(_words(facts), fontsize=11)
    panel.set_xlabel(f"score at epoch {first} (%)")
    panel.set_ylabel(f"score at epoch {last} (%)")
    thin_frame(panel)
    figure.subplots_adjust(left=0.08 if wide else 0.15, right=0.97, top=0.9, bottom=0.16)
    return figure


def describe(facts: Facts) -> str:
    return f"Search score at the first judgement against the last epoch: {_words(facts)}."


def _words(facts: Facts) -> str:
    """Made once for both widths and the description: the interval takes a bootstrap."""
    return facts.kept("rungs", lambda: _agreement(*_pairs(facts)))


def _agreement(both: pd.DataFrame, first: int, last: int) -> str:
    found = agreement(both[first].to_numpy(), both[last].to_numpy())
    rho = f"{number(found['correlation'], 2)} [{number(found['low'], 2)}, {number(found['high'], 2)}]"
    return f"survivors only, n = {len(both)}: Spearman {rho}"


def _pairs(facts: Facts) -> tuple[pd.DataFrame, int, int]:
    study = facts.study
    rungs, last = study.info.get("rungs") or [], study.info.get("epochs")
    if not rungs:
        raise Refused("Trials were not judged on the way.")
    scores = study.curves.assign(score=values(study.curves, LINACC)).dropna(subset=["score"])
    scores = scores[scores["run_id"].isin(study.search["run_id"])]
    table = scores.pivot_table(index="run_id", columns="epoch", values="score")
    both = table[[rungs[0], last]].dropna() if {rungs[0], last} <= set(table.columns) else pd.DataFrame()
    if len(both) < FEWEST:
        raise Refused(
            f"{len(both)} trials reached both epoch {rungs[0]} and {last}; a rank correlation needs {FEWEST}."
        )
    return both, rungs[0], last
