"""What the figures of the subspace diagnostics have in common: how codes look, and what every figure says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style

Arrays = Mapping[str, np.ndarray]
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#8C5E9E", "#444444"
"""Distinguishable with the common colour-vision deficiencies (after Okabe and Ito)."""
STYLE = style.STYLE | {"axes.titlesize": 9.5, "axes.ymargin": 0.05, "figure.constrained_layout.use": True}
CELL, DPI = 2.4, 140
_AGGREGATES = ("#D55E00", "#E69F00", "#A33C00", "#F2C879")
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = ("s", "D", "^", "v")


def grid(
    rows: Sequence[str], columns: Sequence[str], cell: float = CELL, height: float | None = None
) -> tuple[Figure, np.ndarray]:
    """Panels in rows and columns, and room for the lines of ``titled``."""
    size = (max(cell * len(columns) + 0.7, 6.6), (height or cell) * len(rows) + 1.0)
    return plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)


def wrapped(factors: Sequence[str], codes: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """A square panel per factor and code: a row per factor, of one factor alone several rows; as (factors, codes)."""
    if len(factors) > 1 or len(codes) <= 4:
        return grid(factors, codes)
    across = 3
    figure, panels = grid([""] * -(-len(codes) // across), [""] * across, cell=2.6)
    for panel in panels.flat[len(codes) :]:
        panel.set_visible(False)
    return figure, panels.reshape(1, -1)[:, : len(codes)]


def titled(figure: Figure, arrays: Arrays, text: str) -> None:
    """What the figure shows, and below it the run, its arm, seed, epoch and score."""
    fits = int(13 * figure.get_figwidth())  # characters on a line of this size
    lines = [part for line in (*text.split("\n"), who(arrays)) for part in textwrap.wrap(line, fits)]
    figure.suptitle("\n".join(lines), fontsize=9.5, x=0.01, ha="left")


def who(arrays: Arrays) -> str:
    """One line on the run that was measured; of files from before it was stored, that it is not known."""
    said = dict(arrays["about"].tolist()) if "about" in arrays else {}
    if "run" not in said:
        return f"{said.get('source', 'a file')}: names no run (written by an earlier version)"
    score = f"linacc of z_agg {said['score']} %" if said["score"] else "linacc not measured at this epoch"
    where = f"epoch {said['epoch']}, {said['split']}"
    return f"run {said['run']} ({said['arm']}), seed {said['seed']}, {where}, {score}"


def square(panel: Axes, points: np.ndarray) -> None:
    """Equal scales on both axes, with room; a code at rest gets an empty unit square that says so."""
    half = 1.08 * float(np.abs(points).max())
    if not half > 0:
        panel.text(0.5, 0.6, "does not move", transform=panel.transAxes, ha="center", color=GREY)
        half = 1.0
    panel.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    panel.locator_params(nbins=4)


def names(arrays: Arrays, kind: str) -> list[str]:
    """The names of ``factors``, ``angles`` or ``codes``."""
    return arrays[kind].tolist()


def key(name: str, *factors: str, code: str = "") -> str:
    """As ``trainer.subspace.names`` builds them."""
    return f"{name}/{'+'.join(factors)}{'.' if code else ''}{code}"


def label(code: str) -> str:
    """A code's name in figures."""
    if code.startswith("z_agg@"):
        views = code.removeprefix("z_agg@")
        return f"z_agg, {views} view{'' if views == '1' else 's'}"
    return {"": "encoder", "untrained": "untrained encoder"}.get(code, code)


def unit_of(arrays: Arrays, factor: str) -> str:
    """The unit of a factor's values; files from before it was stored know it of angles only."""
    if "units" in arrays:
        return dict(zip(names(arrays, "factors"), arrays["units"].tolist(), strict=True))[factor]
    return "degrees" if factor in arrays["angles"] else "unit not recorded"


def with_unit(arrays: Arrays, factor: str) -> str:
    """``shift_x (half canvases)``."""
    return f"{factor} ({unit_of(arrays, factor)})"


def look(arrays: Arrays, code: str) -> dict[str, object]:
    """Colour, dashes and marker of a code: the same in every figure, and apart also without colour."""
    fixed = {
        "": {"color": BLUE, "linestyle": "-", "marker": "o"},
        "pixels": {"color": GREEN, "linestyle": ":", "marker": "x"},
        "untrained": {"color": PURPLE, "linestyle": "-.", "marker": "P"},
    }
    if code in fixed:
        return fixed[code]
    others = [name for name in names(arrays, "codes") if name not in fixed]
    place = others.index(code) % len(_AGGREGATES)
    return {"color": _AGGREGATES[place], "linestyle": _DASHES[place], "marker": _MARKERS[place]}
