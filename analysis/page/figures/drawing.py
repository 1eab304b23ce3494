"""From a matplotlib figure to an SVG that may stand in a page beside others: its own ids, a title and a description
for who cannot see it, text as text, and links from its marks to the table's rows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.style import nothing, png, styled
from analysis.page.facts import Facts

WIDE, NARROW = 760, 358
"""Pixels: a column of the page on a desk, and on a phone of 390."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#444444")
"""Told apart under three simulated colour-vision deficiencies, and always with a marker or a dash beside them."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
SINGLE = 150
"""Marks that are drawn one by one, each leading to its row; more are drawn together."""
INK, SOFT = "#1a1a1a", "#666666"
FAINT = 0.45
"""Opacity of what an earlier study found."""
RUN = "run--"
"""Beginning of the gid of a mark that stands for a run: ``run--t003``."""

STYLE = style.STYLE | {
    "svg.fonttype": "none", "svg.hashsalt": "page", "font.size": 11, "axes.titlesize": 11, "legend.fontsize": 11,
    "xtick.labelsize": 11, "ytick.labelsize": 11, "axes.labelsize": 11, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": SOFT, "figure.dpi": 72, "savefig.dpi": 72,
    "axes.titlelocation": "left", "legend.frameon": False, "figure.facecolor": "none", "axes.facecolor": "none",
    "path.simplify": True, "savefig.transparent": True,
}  # fmt: skip


class Refused(Exception):
    """Why a figure is not drawn, as a sentence for the reader."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        draw: (facts, width in pixels) -> figure; raises Refused.
        describe: what the figure shows, in words and numbers, for its ``<desc>``.
        caption: what stands below it; made with it, and so as seldom.
    """

    title: str
    draw: Callable[[Facts, int], Figure]
    describe: Callable[[Facts], str]
    caption: Callable[[Facts], str] | None = None

    def html(self, facts: Facts, name: str) -> Markup:
        """Both widths in one ``<figure>``, or the sentence that says why there is none.

        Args:
            name: unique in the page, and made of letters, digits and dashes.
        """
        try:
            drawn = [
                (kind, self.svg(facts, width, f"{name}-{kind}")) for kind, width in (("wide", WIDE), ("narrow", NARROW))
            ]
        except Refused as why:
            return Markup('<p class="refused"><b>{}</b> {}</p>').format(
                self.title if self.title.endswith("?") else f"{self.title}.", str(why)
            )
        below = Markup("<figcaption><small>{}</small></figcaption>").format(self.caption(facts)) if self.caption else ""
        return Markup('<figure class="drawn">{}{}</figure>').format(
            Markup("").join(Markup('<div class="{}">{}</div>').format(kind, svg) for kind, svg in drawn), below
        )

    def figure(self, facts: Facts) -> Figure:
        """The wide one; in its place the sentence that says why there is none."""
        try:
            return self.draw(facts, WIDE)
        except Refused as why:
            figure, panel = figure_of(WIDE, 100)
            panel.set_axis_off()
            nothing(panel, str(why))
            return figure

    def png(self, facts: Facts) -> bytes:
        """The same as a picture of twice as many pixels."""
        return png(self.figure, facts, STYLE | {"figure.facecolor": "white", "savefig.transparent": False}, 144)

    def svg(self, facts: Facts, width: int, name: str) -> Markup:
        with styled(STYLE):
            figure = self.draw(facts, width)
            try:
                return to_svg(figure, name, self.title, self.describe(facts))
            finally:
                plt.close(figure)


def figure_of(width: int, height: int, **grid: Any) -> tuple[Figure, Any]:
    """A figure of so many pixels, and its axes."""
    figure, axes = plt.subplots(figsize=(width / 72, height / 72), dpi=72, **grid)
    return figure, axes


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def thin_frame(panel: Axes) -> None:
    panel.tick_params(length=3)
    panel.grid(axis="x", visible=False)


def look(index: int) -> dict[str, Any]:
    """Marks of the ``index``-th of several kinds, told apart without their colour too."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": ""}


def look_of(level: str | None, levels: tuple[str, ...]) -> dict[str, Any]:
    """The same of a level in every figure; what is none of the study's levels is grey."""
    return look(levels.index(level) % (len(COLOURS) - 1) if level in levels else len(COLOURS) - 1)


def entry(label: str, **look: Any) -> Line2D:
    """Of a legend: a mark that stands for those of every colour and shape."""
    return Line2D([], [], **({"linestyle": "", "marker": "o", "color": SOFT, "markersize": 6, "label": label} | look))


def legend_below(figure: Figure, handles: list[Line2D], columns: int) -> None:
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=columns, handletextpad=0.3,
                  columnspacing=1.2, borderaxespad=0.1)  # fmt: skip


def mark(run: str) -> str:
    """The gid of a mark that opens a run."""
    return f"{RUN}{run}"


def to_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as one element; every id in it begins with ``name``."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S)
    text = re.sub(r'<g id="run--([^"]*)">', lambda found: f'<g data-run="{found[1]}">', text)
    text = _without_unused_ids(text)
    text = re.sub(r'\bid="([^"]*)"', lambda found: f'id="{name}-{found[1]}"', text)
    text = re.sub(r"url\(#([^)]*)\)", lambda found: f"url(#{name}-{found[1]})", text)
    text = re.sub(r'(xlink:)?href="#([^"]*)"', lambda found: f'href="#{name}-{found[2]}"', text)
    # a hundredth of a pixel; what stands between the elements are numbers that people read
    text = re.sub(r"<[^>]*>", lambda element: re.sub(r"(-?\d+\.\d{2})\d+", r"\1", element[0]), text)
    text = re.sub(r" ?font-family: [^;\"]*;?| transform=\"rotate\(-0 [^\"]*\"", "", text)  # the page's own letters
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    width, height = (round(float(size) * 72) for size in figure.get_size_inches())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="system-ui,sans-serif" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>'
    )
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: head, text.strip(), count=1))


def _without_unused_ids(text: str) -> str:
    """Most groups have an id that nothing refers to."""
    used = {*re.findall(r"url\(#([^)]*)\)", text), *re.findall(r'href="#([^"]*)"', text)}
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
