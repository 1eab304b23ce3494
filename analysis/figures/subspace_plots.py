"""Figures of one evaluation's subspace diagnostics, drawn from its stored .npz alone.

    python -m analysis.figures.subspace_plots EVALUATION.npz FOLDER

Every figure shows the code beside its baselines (raw pixels, the untrained encoder) on equal axes where sizes
are to be compared. Lines join values of one anchor's own sweep and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import png
from analysis.figures.subspace_about import with_study_label
from analysis.figures.subspace_layers import heads_figure, layers_figure
from analysis.figures.subspace_operators import operator_r2_figure, operators_figure
from analysis.figures.subspace_overlap import overlap_figure
from analysis.figures.subspace_style import (
    DPI,
    GREY,
    STYLE,
    Arrays,
    grid,
    key,
    label,
    look,
    names,
    square,
    titled,
    unit_of,
    with_unit,
    wrapped,
)  # fmt: skip
from trainer.errors import EXIT_USAGE, UsageError

# a cyclic map whose light half is darkened: points at 180 degrees must stand out from white paper
_CYCLIC = ListedColormap(0.8 * np.array(plt.get_cmap("twilight_shifted").colors), name="turn")
_MOST_LINES = 24
_HARMONICS = 8


def render(source: Path, folder: Path) -> list[Path]:
    """Draw every figure that the arrays allow.

    Args:
        source: the .npz of ``trainer.subspace.summary.save_arrays``.
        folder: gets ``eigenspectrum.png``, ``paths.png``, ``overlap.png`` and ``operator_r2.png`` and, if a factor is
            an angle, ``circle.png``, ``operators.png`` and ``harmonics.png``; of a model with white-box layers
            ``layers.png`` and ``heads.png``.

    Returns:
        The files written.

    Raises:
        UsageError: the file is missing or holds no subspace diagnostics.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{source}: not a readable .npz ({error}); give the file an evaluation wrote") from None
    absent = {"factors", "angles", "codes"} - set(arrays)
    if absent:
        raise UsageError(f"{source}: holds no {', '.join(sorted(absent))}; give the .npz of the subspace diagnostics")
    arrays = with_study_label(arrays, source)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in figures_of(arrays).items():
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(png(draw, arrays, STYLE, DPI))
    return written


def figures_of(arrays: Arrays) -> dict[str, Callable[[Arrays], Figure]]:
    """The figures that the arrays allow, by the name of their file."""
    figures = {}
    if len(arrays["factors"]):
        figures = {"eigenspectrum": eigenspectrum_figure, "paths": paths_figure, "overlap": overlap_figure}
        figures["operator_r2"] = operator_r2_figure
    if len(arrays["angles"]):
        figures |= {"circle": circle_figure, "operators": operators_figure, "harmonics": harmonics_figure}
    if "white_box" in arrays:
        figures |= {"layers": layers_figure, "heads": heads_figure}
    return figures


def eigenspectrum_figure(arrays: Arrays) -> Figure:
    """Cumulative share of the variance of dz against the number of directions, a panel per factor."""
    factors = names(arrays, "factors")
    figure, panels = grid([""], factors, height=3.0)
    for panel, factor in zip(panels[0], factors, strict=True):
        for code in names(arrays, "codes"):
            middle, low, high = arrays[key("eigenspectrum", factor, code=code)]
            count = np.arange(1, len(middle) + 1)
            style = look(arrays, code)
            every = max(1, len(count) // 8)
            panel.plot(count, middle, **style, linewidth=1.6, markersize=3.5, markevery=every, label=label(code))
            panel.fill_between(count, low, high, color=style["color"], alpha=0.18, linewidth=0)
        values = arrays[key("values", factor, code=names(arrays, "codes")[0])]
        span = f"{values[0]:.3g} to {values[-1]:.3g} ({unit_of(arrays, factor)})"
        panel.set(ylim=(0, 1.03), xlabel="number of leading directions", title=f"{factor}\n{span}")
        panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0][0].set_ylabel("cumulative share of\nthe variance of Δz")
    for panel in panels[0][1:]:
        panel.sharey(panels[0][0])
    handles, texts = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=3, frameon=False)
    titled(figure, arrays, "Eigenspectrum of differences Δz; band: ±1.96 bootstrap s.d. over anchors")
    return figure


def circle_figure(arrays: Arrays) -> Figure:
    """Held-out anchors in the plane of the two leading directions of the train anchors, coloured by angle."""
    codes, angles = names(arrays, "codes"), names(arrays, "angles")
    figure, panels = wrapped(angles, codes)
    points = None
    for row, factor in zip(panels, angles, strict=True):
        degrees = np.mod(arrays[key("values", factor, code=codes[0])], 360)
        for panel, code in zip(row, codes, strict=True):
            curves = arrays[key("circle", factor, code=code)][:_MOST_LINES]
            closed = np.concatenate([curves, curves[:, :1]], 1)  # the last angle joins the first
            panel.add_collection(LineCollection(closed, colors="#999999", linewidths=0.5, alpha=0.6))
            look = {"cmap": _CYCLIC, "vmin": 0, "vmax": 360, "s": 9, "linewidths": 0, "zorder": 3}
            # drawn in random order: where a code turns twice, late angles would hide early ones
            order = np.random.default_rng(0).permutation(curves.shape[0] * curves.shape[1])
            points = panel.scatter(*curves.reshape(-1, 2)[order].T, c=np.tile(degrees, len(curves))[order], **look)
            square(panel, curves)
            panel.set_title(f"{factor}\n{label(code)}")
    bar = figure.colorbar(points, ax=figure.axes, shrink=0.8, ticks=[0, 90, 180, 270, 360], pad=0.02)
    bar.set_label("angle of the image (degrees)")
    figure.supxlabel("leading direction of the train anchors", fontsize=9)
    figure.supylabel("second direction", fontsize=9)
    titled(figure, arrays, "A full turn of the image: one closed line per held-out anchor, centred on itself")
    return figure


def paths_figure(arrays: Arrays) -> Figure:
    """Each held-out anchor's path z(theta) - z(0) through its sweep, coloured by the value of the factor."""
    codes, factors = names(arrays, "codes"), names(arrays, "factors")
    figure, panels = grid(codes, factors)
    for column, factor in enumerate(factors):
        values, periodic = arrays[key("values", factor, code=codes[0])], factor in arrays["angles"]
        shades = None
        for row, code in zip(panels, codes, strict=True):
            paths, panel = arrays[key("path", factor, code=code)][:_MOST_LINES], row[column]
            whole = np.concatenate([paths, paths[:, :1]], 1) if periodic else paths
            pieces = np.stack([whole[:, :-1], whole[:, 1:]], 2).reshape(-1, 2, 2)
            shades = LineCollection(pieces, cmap=_CYCLIC if periodic else "viridis", linewidths=0.9)
            step = values[1] - values[0]
            shades.set_array(np.tile(values[: whole.shape[1] - 1] + step / 2, len(paths)))
            shades.set_clim(values[0], values[-1] + step * periodic)
            panel.add_collection(shades)
            panel.plot(0, 0, "o", color="black", markersize=3, zorder=4)
            square(panel, paths)
            panel.set_title(f"{factor}\n{label(code)}")
        bar = figure.colorbar(shades, ax=[row[column] for row in panels], location="bottom", shrink=0.8, pad=0.02)
        bar.set_label(with_unit(arrays, factor))
        bar.locator = MaxNLocator(5, steps=[1, 2, 3, 4.5, 5, 9, 10])
    figure.supxlabel("leading direction of the train anchors' Δz", fontsize=9)
    figure.supylabel("second direction", fontsize=9)
    titled(figure, arrays, "Differences z(θ) − z(0), one line per held-out anchor; dot: θ = 0")
    return figure


def harmonics_figure(arrays: Arrays) -> Figure:
    """Share of each frequency in the variance along a turn: mean over anchors, bar for the middle 80 % of them."""
    codes, angles = names(arrays, "codes"), names(arrays, "angles")
    figure, panels = grid(angles, [""], cell=8, height=2.9)
    for (panel,), factor in zip(panels, angles, strict=True):
        for number, code in enumerate(codes):
            power = arrays[key("harmonic_power", factor, code=code)][:, 1:]
            total = power.sum(1, keepdims=True)
            shares = np.divide(power, total, out=np.zeros_like(power), where=total > 0)[:, :_HARMONICS]
            place = np.arange(1, shares.shape[1] + 1) + (number - (len(codes) - 1) / 2) * 0.8 / len(codes)
            mean, ends = shares.mean(0), np.quantile(shares, [0.1, 0.9], axis=0)
            panel.bar(place, mean, 0.74 / len(codes), color=look(arrays, code)["color"], label=label(code))
            panel.vlines(place, *ends, color=GREY, linewidth=0.8)
        panel.set_xlabel("frequency k (turns of the code per turn of the image)")
        panel.set_ylabel("share of the variance\nalong the turn")
        panel.set_title(factor)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(False, axis="x")
        panel.set_ylim(bottom=0)
        panel.legend(frameon=False, loc="upper right", ncols=2)
    titled(figure, arrays, "Frequencies of the code along a turn; bar: mean over anchors, line: middle 80 % of them")
    return figure


def main(arguments: Sequence[str]) -> int:
    """Command line; prints the files written."""
    if len(arguments) != 2:
        print("usage: python -m analysis.figures.subspace_plots EVALUATION.npz FOLDER", file=sys.stderr)
        return EXIT_USAGE
    try:
        for path in render(Path(arguments[0]), Path(arguments[1])):
            print(path)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
