"""Overlap of factors' subspaces, beside two levels of chance."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.subspace_style import (
    BLUE,
    GREY,
    ORANGE,
    Arrays,
    key,
    label,
    names,
    titled,
)

_BAND = "#b5b5b5"


def overlap_figure(arrays: Arrays) -> Figure:
    """A panel per code, a row per pair of factors: overlap, the covariance-matched null and isotropic chance."""
    codes, factors = names(arrays, "codes"), names(arrays, "factors")
    pairs = list(combinations(range(len(factors)), 2))
    if not pairs:
        return _one_factor(arrays, factors[0])
    across = min(3, len(codes))
    down = -(-len(codes) // across)
    size = (max(6.6, 2.3 * across + 1.6), (0.26 * len(pairs) + 0.75) * down + 1.5)
    figure, panels = plt.subplots(down, across, figsize=size, squeeze=False, sharex=True, sharey=True)
    matched = all(key("overlap_matched", *factors, code=code) in arrays for code in codes)
    for panel, code in zip(panels.flat, codes, strict=False):
        _rows(panel, arrays, code, factors, pairs)
        panel.set_title(label(code))
    for panel in list(panels.flat)[len(codes) :]:
        panel.set_visible(False)
    first = panels[0, 0]
    first.set_yticks(range(len(pairs)), [f"{factors[a]} – {factors[b]}" for a, b in pairs])
    first.set(xlim=(-0.02, 1.02), ylim=(len(pairs) - 0.5, -0.5))
    # the lowest panel of every column names the axis they share
    for column in panels.T:
        lowest = [panel for panel in column if panel.get_visible()][-1]
        lowest.set_xlabel("overlap (0 orthogonal, 1 contained)")
        lowest.tick_params(labelbottom=True)
    figure.legend(handles=_legend(matched), loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    missing = "" if matched else "; this file holds no covariance-matched null"
    titled(figure, arrays, f"Do two factors move the code in the same directions?{missing}")
    return figure


def _rows(panel: Axes, arrays: Arrays, code: str, factors: list[str], pairs: list[tuple[int, int]]) -> None:
    """Draw one code."""
    found, chance = (arrays[key(name, *factors, code=code)] for name in ("overlap", "overlap_chance"))
    null = arrays.get(key("overlap_matched", *factors, code=code))
    for row, pair in enumerate(pairs):
        panel.plot([chance[pair]] * 2, [row - 0.36, row + 0.36], color=GREY, linewidth=1.2, linestyle=(0, (2, 1)))
        if null is not None and np.isfinite(null[0][pair]):
            ends = [null[1][pair], null[2][pair]]
            panel.plot(ends, [row, row], color=_BAND, linewidth=7, solid_capstyle="butt", zorder=1)
            panel.plot([null[0][pair]] * 2, [row - 0.2, row + 0.2], color="white", linewidth=1.6, zorder=2)
        value = found[pair]
        if np.isnan(value):
            panel.text(0.5, row, "undefined: a factor does not move this code", ha="center", va="center", fontsize=7)
            continue
        # filled beyond the null, hollow inside it: the difference must not rest on colour
        outside = null is not None and not null[1][pair] <= value <= null[2][pair]
        colour = ORANGE if outside else BLUE
        face = colour if outside else "white"
        look = {"markersize": 6, "markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 1.5}
        panel.plot(value, row, "o", **look, zorder=3)
        side = -1 if value > 0.8 else 1
        panel.annotate(f"{value:.2f}", (value, row), (7 * side, 0), textcoords="offset points", fontsize=7.5,
                       va="center", ha="left" if side > 0 else "right", zorder=4,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.75})  # fmt: skip
    panel.grid(False, axis="y")


def _legend(matched: bool) -> list[Line2D]:
    chance = Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (2, 1)), label="isotropic chance, max(k) / D")
    if not matched:
        look = {"marker": "o", "linestyle": "", "markerfacecolor": "white", "markeredgecolor": BLUE}
        return [Line2D([], [], **look, label="overlap"), chance]
    inside = {"marker": "o", "linestyle": "", "markeredgewidth": 1.5}
    return [
        Line2D([], [], **inside, markerfacecolor="white", markeredgecolor=BLUE, label="overlap within the null's 95 %"),
        Line2D([], [], **inside, markerfacecolor=ORANGE, markeredgecolor=ORANGE, label="overlap outside it"),
        Line2D([], [], color=_BAND, linewidth=7, label="covariance-matched null, 95 % (gap: mean)"),
        chance,
    ]


def _one_factor(arrays: Arrays, factor: str) -> Figure:
    figure, panel = plt.subplots(figsize=(6.6, 1.7))
    why = f"Only {factor} was swept. Overlap compares the subspaces of two factors;"
    text = f"{why}\nsweep several with data.transform=affine."
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY)
    panel.set_axis_off()
    titled(figure, arrays, "Overlap of factors' subspaces: nothing to compare")
    return figure
