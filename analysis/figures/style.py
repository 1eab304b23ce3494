"""What the figures of a study have in common."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")  # figures go to files; no display is needed or asked for

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of the levels in their order; distinguishable with the common colour-vision deficiencies (Okabe and Ito)."""
GREY = "#444444"
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.grid": True,
         "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.ymargin": 0.08}  # fmt: skip
DPI = 150


@contextmanager
def styled(style: dict[str, Any]) -> Iterator[None]:
    """Draw in a style; a letter that no font here has is a box in the figure, and no warning with our paths in it."""
    with plt.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def png(draw: Callable[[Any], Figure], shown: Any, style: dict[str, Any] = STYLE, dpi: int = DPI) -> bytes:
    """Draw a figure in a style; the content of a PNG file."""
    buffer = io.BytesIO()
    with styled(style):
        figure = draw(shown)
        figure.savefig(buffer, format="png", dpi=dpi)
        plt.close(figure)
    return buffer.getvalue()


def nothing(panel: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY)
