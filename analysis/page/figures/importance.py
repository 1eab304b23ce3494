"""How much of the scores' variance each searched setting accounts for: a dot, and the range of resamples."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.page.facts import Facts
from analysis.page.figures.drawing import COLOURS, WIDE, Refused, figure_of, thin_frame
from analysis.tables.importance import ABOUT, Importance, importance

MOST = 12
"""Settings that are drawn, the largest."""


def draw(facts: Facts, width: int) -> Figure:
    found = _found(facts)
    shares = found.shares.head(MOST).iloc[::-1].reset_index(drop=True)
    wide = width == WIDE
    height = 90 + 26 * len(shares)
    figure, panel = figure_of(width, height)
    panel.hlines(shares.index, 100 * shares["low"], 100 * shares["high"], color=COLOURS[0], linewidth=2)
    panel.plot(100 * shares["share"], shares.index, "o", color=COLOURS[0], markersize=7)
    panel.set_yticks(shares.index, shares["setting"])
    panel.set(xlim=(-2, 102), ylim=(-0.6, len(shares) - 0.4), xlabel="share of the variance of scores (%)")
    figure.suptitle(_words(found), fontsize=11, x=0.01, ha="left", y=0.995, va="top")
    thin_frame(panel)
    panel.grid(axis="x", visible=True)
    longest = max(len(name) for name in shares["setting"])
    left = min(0.55, (7 * longest + 16) / width)
    figure.subplots_adjust(left=left, right=0.97 if wide else 0.94, top=1 - 30 / height, bottom=44 / height)
    return figure


def describe(facts: Facts) -> str:
    found = _found(facts)
    parts = [
        f"{row['setting']} {100 * row['share']:.0f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f})"
        for _, row in found.shares.head(MOST).iterrows()
    ]
    return f"{_words(found)}: {', '.join(parts)}."


def caption(facts: Facts) -> str:
    return " ".join([ABOUT, *_found(facts).others])


def _words(found: Importance) -> str:
    return f"Importance of settings at epoch {found.epoch} (n = {found.n}, exploratory)"


def _found(facts: Facts) -> Importance:
    found = importance(facts.study)
    if isinstance(found, str):
        raise Refused(found)
    return found
