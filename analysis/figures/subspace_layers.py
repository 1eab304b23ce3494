"""White-box layers: rates and sparsity with depth, and what each head tells apart."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.subspace_style import BLUE, GREEN, GREY, ORANGE, Arrays, grid, names, titled

_MOST_ATOMS = 512


def layers_figure(arrays: Arrays) -> Figure:
    """A row per part, its layers from left to right: rates of the tokens, sparsity of the codes, use of the atoms."""
    parts = names(arrays, "white_box")
    figure, panels = grid(parts, [""] * 3, cell=3.0, height=2.7)
    for (rates, codes, use), part in zip(panels, parts, strict=True):
        whole, within, whole_after, within_after = arrays[f"layer_rates/{part}"]
        layer = np.arange(1, len(whole) + 1)
        steps = np.stack([layer - 0.25, layer + 0.25], 1).ravel()
        for values, look, name in (
            (np.stack([whole, whole_after], 1), {"color": BLUE, "marker": "o"}, "R(Z)"),
            (np.stack([within, within_after], 1), {"color": ORANGE, "marker": "s", "linestyle": "--"}, "R$^c$(Z|U)"),
        ):
            rates.plot(steps, values.ravel(), **look, markersize=3.5, linewidth=1.4, label=name)
        rates.set(
            title=f"{part.replace('_', ' ')}\nbefore and after attention", ylabel="nats a sequence", ylim=(0, None)
        )
        shown = zip(
            ("non-zero", "exact zeros", "dead atoms", "entropy of use"), arrays[f"layer_codes/{part}"], strict=True
        )
        looks = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "x", ":"), (GREEN, "D", "-."))
        for (name, values), (colour, marker, line) in zip(shown, looks, strict=True):
            codes.plot(
                layer, values, color=colour, marker=marker, linestyle=line, markersize=4, linewidth=1.4, label=name
            )
        codes.set(
            title=f"{part.replace('_', ' ')}\nsparse codes", ylim=(-0.03, 1.38), ylabel="share", yticks=(0, 0.5, 1)
        )
        for panel in (rates, codes):
            panel.set(xlabel="layer", xlim=(0.5, len(whole) + 0.5))
            panel.set_xticks(layer[:: max(1, len(layer) // 6)])
        atoms = arrays[f"atom_use/{part}"]
        for number, row in enumerate(atoms, start=1):
            shade = plt.get_cmap("viridis")(0.85 * (number - 1) / max(1, len(atoms) - 1))
            every = max(1, len(row) // _MOST_ATOMS)
            use.plot(
                np.linspace(0, 1, len(row))[::every], row[::every], color=shade, linewidth=1.3, label=f"layer {number}"
            )
        use.set(
            title=f"{part.replace('_', ' ')}\nuse of {atoms.shape[1]} atoms",
            xlabel="atoms, most used first (share)",
            ylim=(-0.03, 1.03),
        )
        use.set_ylabel("share of tokens")
    for column, (place, across) in enumerate((("lower left", 1), ("upper left", 2), ("upper right", 1))):
        panels[0][column].legend(frameon=False, fontsize=7.5, loc=place, ncols=across, handlelength=2.6)
    titled(figure, arrays, "White-box layers: coding rates of tokens, sparsity of codes, atoms in use")
    return figure


def heads_figure(arrays: Arrays) -> Figure:
    """A panel per part and layer: R^2 of each head's energy against each target, and below it what the best head
    reaches by chance."""
    parts, targets = names(arrays, "white_box"), names(arrays, "white_box_targets")
    deepest = max(len(arrays[f"head_r2/{part}"]) for part in parts)
    across = min(4, deepest)
    rows = [(part, start) for part in parts for start in range(0, len(arrays[f"head_r2/{part}"]), across)]
    heads = max(arrays[f"head_r2/{part}"].shape[1] for part in parts)
    figure, panels = grid(
        [""] * len(rows), [""] * across, cell=max(2.0, 0.36 * len(targets) + 1.2), height=0.24 * (heads + 1) + 1.15
    )
    shades = None
    for row, (part, start) in zip(panels, rows, strict=True):
        for number, panel in enumerate(row, start=start):
            if number >= len(arrays[f"head_r2/{part}"]):
                panel.set_visible(False)
                continue
            found, (_, null, _) = arrays[f"head_r2/{part}"][number], arrays[f"head_best/{part}"][number]
            table = np.concatenate([found, null[None]])
            shades = panel.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            for (head, target), value in np.ndenumerate(table):
                above = head < len(found) and value > null[target]
                panel.text(target, head, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                           color="white" if value > 0.55 else "black" if above else GREY,
                           fontweight="bold" if above else "normal")  # fmt: skip
            panel.axhline(len(found) - 0.5, color="black", linewidth=0.8)
            panel.set_yticks(range(len(table)), [*(f"head {i + 1}" for i in range(len(found))), "chance"], fontsize=7)
            panel.set_xticks(range(len(targets)), targets, rotation=40, ha="right", fontsize=7)
            panel.set_title(f"{part.replace('_', ' ')}, layer {number + 1}", fontsize=8.5)
            panel.grid(False)
    figure.colorbar(shades, ax=figure.axes, shrink=0.7, pad=0.02, label="R² of the head's energy")
    titled(figure, arrays, "What each head's energy tells; bold: above the 95 % quantile of the best head's R² when"
           " sequences are permuted (chance)")  # fmt: skip
    return figure
