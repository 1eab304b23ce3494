"""Who held a place when: a bar per attempt, its end by colour and hatch. Of many attempts the busy share is drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.page.facts import Facts
from analysis.page.figures.drawing import COLOURS, INK, SOFT, WIDE, Refused, figure_of, mark, thin_frame
from analysis.rendering.render import duration
from analysis.statistics.cost import RUNNING, Attempt

MOST = 300
_LOOKS = {
    "complete": (COLOURS[2], ""), "pruned": (COLOURS[0], "//"), "collapsed": (COLOURS[3], "xx"),
    "diverged": (COLOURS[3], ".."), RUNNING: ("#ffffff", ""),
}  # fmt: skip
_WORDS = {"complete": "to the end", "pruned": "stopped early", RUNNING: "running"}


def draw(facts: Facts, width: int) -> Figure:
    held = _held(facts)
    wide = width == WIDE
    unit, seconds = ("h", 3600.0) if held[-1][1] > 7200 else ("min", 60.0)
    if len(held) > MOST:
        return _share(held, width, unit, seconds)
    slots = _slots(held)
    count = max(slots) + 1
    height = 84 + 20 * count + (0 if wide else 16)
    figure, panel = figure_of(width, height)
    seen: dict[str, tuple[str, str]] = {}
    for (start, end, attempt), slot in zip(held, slots, strict=True):
        colour, hatch = _LOOKS.get(attempt.end, (COLOURS[1], "xx"))
        seen[_WORDS.get(attempt.end, attempt.end.replace("_", " "))] = (colour, hatch)
        bar = panel.barh(slot, (end - start) / seconds, left=start / seconds, height=0.7, facecolor=colour,
                         edgecolor=INK if attempt.end == RUNNING else "white", hatch=hatch, linewidth=0.6)  # fmt: skip
        bar.patches[0].set_gid(mark(attempt.name))
    panel.set_yticks(range(count), [f"place {slot + 1}" for slot in range(count)] if count <= 12 else [""] * count)
    panel.set_ylim(-0.6, count - 0.4)
    panel.set_xlabel(f"time of the study ({unit})")
    panel.grid(visible=False)
    thin_frame(panel)
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=SOFT, linewidth=0.6, label=word)
        for word, (colour, hatch) in seen.items()
    ]
    figure.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 0), ncols=5 if wide else 3, columnspacing=1.0,
                  handletextpad=0.4, borderaxespad=0.1)  # fmt: skip
    figure.subplots_adjust(
        left=0.09 if wide else 0.16, right=0.98, top=1 - 8 / height, bottom=(64 if wide else 78) / height
    )
    return figure


def describe(facts: Facts) -> str:
    held = _held(facts)
    spent = facts.spent
    lost = sum(spent.lost.values())
    return (
        f"{len(held)} attempts in {duration(spent.wall_seconds)}; {100 * spent.free:.0f} % of the places had no run;"
        f" {lost} attempts were lost."
    )


def _held(facts: Facts) -> list[tuple[float, float, Attempt]]:
    """(start, end, attempt) in seconds of the study's own time: its sessions one after the other."""
    found, before = [], 0.0
    for session in facts.spent.sessions:
        found += [(before + a.start, before + a.start + a.seconds, a) for a in session.attempts]
        before += session.seconds
    if not found:
        known = "No attempt has started yet." if facts.spent.known else "Times of attempts are not on this record."
        raise Refused(known)
    return sorted(found, key=lambda one: one[:2])


def _slots(held: list[tuple[float, float, Attempt]]) -> list[int]:
    """A row for each attempt such that no two overlap."""
    free: list[float] = []
    slots = []
    for start, end, _ in held:
        slot = next((index for index, until in enumerate(free) if until <= start + 1e-6), len(free))
        free[slot : slot + 1] = [end]
        slots.append(slot)
    return slots


def _share(held: list[tuple[float, float, Attempt]], width: int, unit: str, seconds: float) -> Figure:
    figure, panel = figure_of(width, 180)
    edges = np.linspace(0, max(end for _, end, _ in held), 121)
    busy = np.zeros(len(edges) - 1)
    for start, end, _ in held:
        busy += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) / np.diff(edges)
    panel.fill_between(edges[:-1] / seconds, busy, step="post", color=COLOURS[0], alpha=0.6, linewidth=0)
    panel.set_ylabel("attempts at once")
    panel.set_xlabel(f"time of the study ({unit})")
    thin_frame(panel)
    figure.subplots_adjust(left=0.08 if width == WIDE else 0.14, right=0.98, top=0.95, bottom=0.26)
    return figure
