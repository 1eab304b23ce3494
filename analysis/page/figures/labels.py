"""Names of lines: at their ends where there is room, below the figure where there is not."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.page.figures.drawing import INK, cut
from analysis.rendering.render import number

End = tuple[str, float, str, Any]
"""Name of a line, value at its end, colour and dash."""
_APART = 15.0
"""Pixels between two labels."""


def end_labels(figure: Figure, panel: Axes, ends: list[End], digits: int, beside: bool) -> None:
    """Write the ends (see ``End``) right of the panel, moved apart; on a narrow figure as lines below it.

    Text is ink; the colour is that of a short line before it, since not every colour of a mark is legible as text.
    """
    if not ends:
        return
    if not beside:
        _below(figure, panel, ends, digits)
        return
    height = figure.get_size_inches()[1] * 72
    box = panel.get_position()
    low, high = panel.get_ylim()
    span = (high - low) or 1.0
    places, lowest = [], float("-inf")
    for name, value, colour, dash in sorted(ends, key=lambda end: end[1]):
        y = max((box.y0 + (value - low) / span * box.height) * height, lowest + _APART)
        places.append((name, value, colour, dash, y))
        lowest = y
    over = max(0.0, lowest - height + 10)
    width = figure.get_size_inches()[0] * 72
    for name, value, colour, dash, y in places:
        at = (y - over) / height
        start = box.x1 + 8 / width
        figure.add_artist(Line2D([start, start + 24 / width], [at, at], color=colour, linestyle=dash, linewidth=2.2))
        figure.text(
            start + 29 / width, at, f"{cut(name, 23)} {number(value, digits)}", va="center", fontsize=11, color=INK
        )


def _below(figure: Figure, panel: Axes, ends: list[End], digits: int) -> None:
    width, old = (size * 72 for size in figure.get_size_inches())
    more = _APART * len(ends) + 8
    new = old + more
    box = panel.get_position()
    figure.set_size_inches(width / 72, new / 72)
    panel.set_position([box.x0, (box.y0 * old + more) / new, box.width, box.height * old / new])
    for row, (name, value, colour, dash) in enumerate(sorted(ends, key=lambda end: -end[1])):
        at = (more - _APART * (row + 0.5)) / new
        figure.add_artist(Line2D([6 / width, 30 / width], [at, at], color=colour, linestyle=dash, linewidth=2.2))
        figure.text(35 / width, at, f"{cut(name, 44)} {number(value, digits)}", va="center", fontsize=11, color=INK)
