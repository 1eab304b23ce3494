"""Put text into a figure so that no two pieces overlap."""

from __future__ import annotations

from itertools import product

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

_PLACES = [("left", "center", 5, 0), ("right", "center", -5, 0), ("center", "bottom", 0, 5), ("center", "top", 0, -5),
           ("left", "bottom", 4, 3), ("left", "top", 4, -3), ("right", "bottom", -4, 3), ("right", "top", -4,
           -3)]  # fmt: skip
"""Alignment of the text and its offset in points, best first."""
_GAP = 3
"""Pixels between two pieces of text."""


def place_beside(panel: Axes, reaches: tuple[float, ...] = (1.0,)) -> None:
    """Move each annotation beside its point, to the first place clear of every marker and other text.

    An annotation that finds no free place is removed: an unreadable number is worse than none.

    Args:
        reaches: distances from the point, in units of a small marker's, tried one after the other.
    """
    figure = panel.figure
    renderer = figure.canvas.get_renderer()
    panel.autoscale_view()  # matplotlib leaves the limits open until it draws, and with them where the markers are
    taken = _markers(panel)
    inside = panel.get_window_extent(renderer)
    for note in [child for child in panel.texts if isinstance(child, Annotation)]:
        for reach, (horizontal, vertical, right, up) in product(reaches, _PLACES):
            note.set(ha=horizontal, va=vertical)
            note.set_position((reach * right, reach * up))
            note.set_anncoords("offset points")
            box = note.get_window_extent(renderer)
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            # a gap, for two numbers side by side would read as one
            if fits and not any(box.padded(_GAP).overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            note.remove()


def _markers(panel: Axes) -> list[Bbox]:
    """Where the markers and error bars of a panel are drawn, in pixels."""
    boxes = []
    for line in panel.lines:
        if line.get_marker() in ("o", "D", "s", "^"):
            radius = line.get_markersize() / 2 * panel.figure.dpi / 72
            for x, y in panel.transData.transform(line.get_xydata()):
                boxes.append(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    for bars in panel.collections:
        for segment in bars.get_segments():
            (left, low), (right, high) = panel.transData.transform(segment)
            boxes.append(Bbox.from_extents(left - 1, low - 1, right + 1, high + 1))
    return boxes
