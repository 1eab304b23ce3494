"""The operators z(theta + delta) = M_delta z(theta): how well they predict, how they compose, and their eigenvalues."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.subspace_style import (
    BLUE,
    ORANGE,
    Arrays,
    key,
    label,
    look,
    names,
    square,
    titled,
    with_unit,
    wrapped,
)

_SHOWN_DEGREES = 40.0
"""Angle of the operator whose eigenvalues are drawn: low frequencies are then well apart."""
_WORST = -0.25


def operator_r2_figure(arrays: Arrays) -> Figure:
    """Held-out R^2 of M_delta against delta, a row per factor, and beside it the error of composing two operators."""
    codes, factors = names(arrays, "codes"), names(arrays, "factors")
    size = (8.6, 2.1 * len(factors) + 1.5)
    figure, panels = plt.subplots(len(factors), 2, figsize=size, squeeze=False, width_ratios=[2, 1], sharey="col")
    below = False
    for (curve, bars), factor in zip(panels, factors, strict=True):
        for code in codes:
            deltas = arrays[key("operator_deltas", factor, code=code)]
            best = arrays[key("operator_r2", factor, code=code)][2]
            below |= bool((best < _WORST).any())
            curve.plot(deltas, np.maximum(best, _WORST), **look(arrays, code), linewidth=1.5, markersize=3.5,
                       markevery=max(1, len(deltas) // 9), label=label(code))  # fmt: skip
        curve.axhline(0, color="black", linewidth=0.7)
        curve.set(xlabel=f"change δ of {with_unit(arrays, factor)}", ylabel="held-out R² of M_δ")
        curve.set_ylim(_WORST - 0.03, 1.03)
        composed = [arrays.get(key("operator_composition", factor, code=code)) for code in codes]
        if any(errors is None or np.isnan(errors[1]) for errors in composed):
            why = "not in this file" if composed[0] is None else "too few values to compose"
            bars.text(0.5, 0.5, why, transform=bars.transAxes, ha="center", va="center")
            bars.set(xlim=(0, 1))
        else:
            colours = [look(arrays, code)["color"] for code in codes]
            drawn = bars.barh(range(len(codes)), [errors[1] for errors in composed], 0.7, color=colours)
            bars.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
            bars.set_xlim(0, 1.25 * max(1e-3, *(errors[1] for errors in composed)))
        bars.set_yticks(range(len(codes)), [label(code) for code in codes])
        bars.set(xlabel="composition error", ylim=(len(codes) - 0.4, -0.6))
        bars.grid(False, axis="y")
    handles, texts = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    clipped = f", below {_WORST} drawn at {_WORST}" if below else ""
    titled(figure, arrays,
        "Is a change of the factor one linear operator M_δ, whatever the image? R²: 0 = no better than the "
           f"mean code or no change{clipped}; error: |M_δ M_ε − M_δ+ε| / |M_δ+ε|, "
           "by variance; 0 = they compose")  # fmt: skip
    return figure


def operators_figure(arrays: Arrays) -> Figure:
    """Eigenvalues of one rotation operator in the complex plane, with exp(i k delta) marked on the unit circle."""
    codes, angles = names(arrays, "codes"), names(arrays, "angles")
    figure, panels = wrapped(angles, codes)
    turn = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    for row, factor in zip(panels, angles, strict=True):
        for panel, code in zip(row, codes, strict=True):
            deltas = arrays[key("operator_deltas", factor, code=code)]
            chosen = int(np.argmin(np.abs(deltas - _SHOWN_DEGREES)))
            values = arrays[key("operator_eigenvalues", factor, code=code)][chosen]
            panel.plot(turn.real, turn.imag, color="#bbbbbb", linewidth=0.8, zorder=1)
            for k in range(int(180 // deltas[chosen]) + 1):  # beyond half a turn frequencies fold back
                mark = np.exp(1j * k * np.deg2rad(deltas[chosen]))
                ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": ORANGE}
                panel.plot([mark.real] * 2, [mark.imag, -mark.imag], "o", **ring, zorder=2)
                place = {"ha": "center", "va": "center", "fontsize": 8.5, "color": ORANGE}
                panel.text(1.22 * mark.real, 1.22 * mark.imag, f"{k}", **place)
            panel.plot(values.real, values.imag, "o", color=BLUE, markersize=3.2, alpha=0.75, zorder=3)
            square(panel, np.array([[-1.25, -1.25], [1.25, 1.25]]))
            panel.set_title(f"{factor}, {label(code)}\nδ = {deltas[chosen]:g}°")
    figure.supxlabel("real part", fontsize=9)
    figure.supylabel("imaginary part", fontsize=9)
    rings = "rings: exp(± i k δ), k turns per turn of the image"
    titled(figure, arrays, f"Eigenvalues of M_δ on the moving part of the code (dots); {rings}")
    return figure
