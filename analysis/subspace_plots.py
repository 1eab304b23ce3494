"""Figures of one evaluation's subspace diagnostics, drawn from its stored .npz alone.

    python -m analysis.subspace_plots EVALUATION.npz FOLDER

Every figure shows the code beside its baselines (raw pixels, the untrained encoder) on equal axes where sizes
are to be compared. Lines join values of one anchor's own sweep and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # figures go to files; no display is needed or asked for

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.errors import EXIT_USAGE, UsageError

Arrays = Mapping[str, np.ndarray]
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#8C5E9E")
"""Distinguishable with the common colour-vision deficiencies (after Okabe and Ito)."""
_GREY = "#444444"
# a cyclic map whose light half is darkened: points at 180 degrees must stand out from white paper
_CYCLIC = ListedColormap(0.8 * np.array(plt.get_cmap("twilight_shifted").colors), name="turn")
_STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5, "axes.grid": True,
          "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True,
          "figure.constrained_layout.use": True}  # fmt: skip
_CELL, _DPI = 2.7, 140
_MOST_LINES = 24
_SHOWN_DEGREES = 40.0
"""Angle of the operator whose eigenvalues are drawn: low frequencies are then well apart."""
_HARMONICS = 8


def render(source: Path, folder: Path) -> list[Path]:
    """Draw every figure that the arrays allow.

    Args:
        source: the .npz of ``trainer.subspace.summary.save_arrays``.
        folder: gets ``eigenspectrum.png``, ``paths.png`` and ``overlap.png`` and, if a factor is an angle,
            ``circle.png``, ``operators.png`` and ``harmonics.png``.

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
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"eigenspectrum": eigenspectrum_figure, "paths": paths_figure, "overlap": overlap_figure}
    if len(arrays["angles"]):
        figures |= {"circle": circle_figure, "operators": operators_figure, "harmonics": harmonics_figure}
    written = []
    with plt.rc_context(_STYLE):
        for name, draw in figures.items():
            figure = draw(arrays)
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=_DPI)
            plt.close(figure)
    return written


def eigenspectrum_figure(arrays: Arrays) -> Figure:
    """Cumulative share of the variance of dz against the number of directions, a panel per factor."""
    figure, panels = _grid([""], _names(arrays, "factors"), height=3.0)
    for panel, factor in zip(panels[0], _names(arrays, "factors"), strict=True):
        for number, code in enumerate(_names(arrays, "codes")):
            middle, low, high = arrays[_key("eigenspectrum", factor, code=code)]
            count = np.arange(1, len(middle) + 1)
            colour, line = _COLOURS[number % len(_COLOURS)], "-" if number == 0 else ("--", ":", "-.")[(number - 1) % 3]
            panel.plot(count, middle, line, color=colour, linewidth=1.6, label=_label(code))
            panel.fill_between(count, low, high, color=colour, alpha=0.22, linewidth=0)
        panel.set(ylim=(0, 1.03), xlabel="directions", title=factor)
        panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0][0].set_ylabel("share of the variance of Δz")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Eigenspectrum of differences\nband: ±1.96 bootstrap deviations over anchors", fontsize=10)
    return figure


def circle_figure(arrays: Arrays) -> Figure:
    """Held-out anchors in the plane of the two leading directions of the train anchors, coloured by angle."""
    codes, angles = _names(arrays, "codes"), _names(arrays, "angles")
    figure, panels = _grid(angles, codes)
    points = None
    for row, factor in zip(panels, angles, strict=True):
        degrees = np.mod(arrays[_key("values", factor, code=codes[0])], 360)
        for panel, code in zip(row, codes, strict=True):
            curves = arrays[_key("circle", factor, code=code)][:_MOST_LINES]
            closed = np.concatenate([curves, curves[:, :1]], 1)  # the last angle joins the first
            panel.add_collection(LineCollection(closed, colors="#999999", linewidths=0.5, alpha=0.6))
            look = {"cmap": _CYCLIC, "vmin": 0, "vmax": 360, "s": 9, "linewidths": 0, "zorder": 3}
            # drawn in random order: where a code turns twice, late angles would hide early ones
            order = np.random.default_rng(0).permutation(curves.shape[0] * curves.shape[1])
            points = panel.scatter(*curves.reshape(-1, 2)[order].T, c=np.tile(degrees, len(curves))[order], **look)
            _square(panel, curves)
            panel.set_title(f"{factor}: {_label(code)}")
    bar = figure.colorbar(points, ax=panels, shrink=0.8, ticks=[0, 90, 180, 270, 360], pad=0.02)
    bar.set_label("angle of the image (degrees)")
    figure.suptitle("One closed line per held-out anchor, centred on itself; plane of the train anchors", fontsize=10)
    return figure


def paths_figure(arrays: Arrays) -> Figure:
    """Each held-out anchor's path z(theta) - z(0) through its sweep, coloured by the value of the factor."""
    codes, factors = _names(arrays, "codes"), _names(arrays, "factors")
    figure, panels = _grid(codes, factors)
    for column, factor in enumerate(factors):
        values, periodic = arrays[_key("values", factor, code=codes[0])], factor in arrays["angles"]
        shades = None
        for row, code in zip(panels, codes, strict=True):
            paths, panel = arrays[_key("path", factor, code=code)][:_MOST_LINES], row[column]
            whole = np.concatenate([paths, paths[:, :1]], 1) if periodic else paths
            pieces = np.stack([whole[:, :-1], whole[:, 1:]], 2).reshape(-1, 2, 2)
            shades = LineCollection(pieces, cmap=_CYCLIC if periodic else "viridis", linewidths=0.9)
            step = values[1] - values[0]
            shades.set_array(np.tile(values[: whole.shape[1] - 1] + step / 2, len(paths)))
            shades.set_clim(values[0], values[-1] + step * periodic)
            panel.add_collection(shades)
            panel.plot(0, 0, "o", color="black", markersize=3, zorder=4)
            _square(panel, paths)
            panel.set_title(f"{factor}: {_label(code)}")
        bar = figure.colorbar(shades, ax=[row[column] for row in panels], location="bottom", shrink=0.8, pad=0.02)
        bar.set_label(f"{factor} (degrees)" if periodic else factor)
        bar.locator = MaxNLocator(5, steps=[1, 2, 3, 4.5, 5, 9, 10])
    figure.suptitle("Differences z(θ) − z(0), one line per held-out anchor; dot: θ = 0", fontsize=10)
    return figure


def overlap_figure(arrays: Arrays) -> Figure:
    """Overlap of every two factors' subspaces, with the level two random subspaces would reach."""
    codes, factors = _names(arrays, "codes"), _names(arrays, "factors")
    figure, panels = _grid([""], codes, cell=max(_CELL, 0.62 * len(factors) + 1.1))
    drawn = None
    for number, (panel, code) in enumerate(zip(panels[0], codes, strict=True)):
        matrix = arrays[_key("overlap", *factors, code=code)]
        drawn = panel.imshow(matrix, vmin=0, vmax=1, cmap="Blues")
        for (row, column), value in np.ndenumerate(matrix):
            if row != column:
                text = "–" if np.isnan(value) else f"{value:.2f}"
                ink = "white" if value > 0.6 else "black"
                panel.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        ticks = range(len(factors))
        panel.set_xticks(ticks, factors, rotation=40, ha="right", rotation_mode="anchor")
        panel.set_yticks(ticks, factors if number == 0 else [])
        panel.tick_params(left=number == 0)
        panel.grid(False)
        panel.spines[:].set_visible(False)
        chance = np.nanmax(arrays[_key("overlap_chance", *factors, code=code)])
        panel.set_title(f"{_label(code)}\n(chance {chance:.2f})")
    figure.colorbar(drawn, ax=panels, shrink=0.8, pad=0.02, label="overlap")
    return figure


def operators_figure(arrays: Arrays) -> Figure:
    """Eigenvalues of one rotation operator in the complex plane, with exp(i k delta) marked on the unit circle."""
    codes, angles = _names(arrays, "codes"), _names(arrays, "angles")
    figure, panels = _grid(angles, codes)
    turn = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    for row, factor in zip(panels, angles, strict=True):
        for panel, code in zip(row, codes, strict=True):
            deltas = arrays[_key("operator_deltas", factor, code=code)]
            chosen = int(np.argmin(np.abs(deltas - _SHOWN_DEGREES)))
            values = arrays[_key("operator_eigenvalues", factor, code=code)][chosen]
            panel.plot(turn.real, turn.imag, color="#bbbbbb", linewidth=0.8, zorder=1)
            for k in range(int(180 // deltas[chosen]) + 1):  # beyond half a turn frequencies fold back
                mark = np.exp(1j * k * np.deg2rad(deltas[chosen]))
                ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": _COLOURS[1]}
                panel.plot([mark.real] * 2, [mark.imag, -mark.imag], "o", **ring, zorder=2)
                place = {"ha": "center", "va": "center", "fontsize": 8.5, "color": _COLOURS[1]}
                panel.text(1.2 * mark.real, 1.2 * mark.imag, f"{k}", **place)
            panel.plot(values.real, values.imag, "o", color=_COLOURS[0], markersize=3.2, alpha=0.75, zorder=3)
            _square(panel, np.array([[-1.25, -1.25], [1.25, 1.25]]))
            panel.set_title(f"{factor}: {_label(code)}, δ = {deltas[chosen]:g}°")
    figure.suptitle("Eigenvalues of M_δ on the moving part of the code; rings: exp(i k δ), labelled k", fontsize=10)
    return figure


def harmonics_figure(arrays: Arrays) -> Figure:
    """Share of each frequency in the variance along a turn: mean over anchors, bar for the middle 80 % of them."""
    codes, angles = _names(arrays, "codes"), _names(arrays, "angles")
    figure, panels = _grid(angles, [""], cell=5.6, height=2.9)
    for (panel,), factor in zip(panels, angles, strict=True):
        for number, code in enumerate(codes):
            power = arrays[_key("harmonic_power", factor, code=code)][:, 1:]
            total = power.sum(1, keepdims=True)
            shares = np.divide(power, total, out=np.zeros_like(power), where=total > 0)[:, :_HARMONICS]
            place = np.arange(1, shares.shape[1] + 1) + (number - (len(codes) - 1) / 2) * 0.8 / len(codes)
            mean, ends = shares.mean(0), np.quantile(shares, [0.1, 0.9], axis=0)
            panel.bar(place, mean, 0.74 / len(codes), color=_COLOURS[number % len(_COLOURS)], label=_label(code))
            panel.vlines(place, *ends, color=_GREY, linewidth=0.8)
        panel.set(xlabel="frequency k (turns of the code per turn of the image)", ylabel="share of the variance")
        panel.set_title(factor)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(False, axis="x")
        panel.set_ylim(bottom=0)
        panel.legend(frameon=False, loc="upper right")
    return figure


def _grid(
    rows: Sequence[str], columns: Sequence[str], cell: float = _CELL, height: float | None = None
) -> tuple[Figure, np.ndarray]:
    size = (max(cell * len(columns) + 0.7, 4.8), (height or cell) * len(rows) + 0.6)
    return plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)


def _square(panel: Axes, points: np.ndarray) -> None:
    """Equal scales on both axes, with room; a code at rest gets an empty unit square."""
    half = 1.08 * float(np.abs(points).max()) or 1.0
    panel.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    panel.locator_params(nbins=4)


def _names(arrays: Arrays, kind: str) -> list[str]:
    return arrays[kind].tolist()


def _key(name: str, *factors: str, code: str = "") -> str:
    """As ``trainer.subspace.names`` builds them."""
    return f"{name}/{'+'.join(factors)}{'.' if code else ''}{code}"


def _label(code: str) -> str:
    return code or "encoder"


def main(arguments: Sequence[str]) -> int:
    """Command line; prints the files written."""
    if len(arguments) != 2:
        print("usage: python -m analysis.subspace_plots EVALUATION.npz FOLDER", file=sys.stderr)
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
