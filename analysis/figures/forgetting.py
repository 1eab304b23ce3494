"""Figures of streams, from the records alone: a heat map of what is left of each segment, and the mean over the
segments seen along the stream."""

from __future__ import annotations

import json
import re
import textwrap
from collections import defaultdict
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, png
from analysis.rendering.decimals import decimals
from analysis.statistics.paired import mean_interval
from trainer.errors import UsageError
from trainer.record.run import read

METRIC = "linacc/z_agg"
ENTRY = re.compile(r"([^/]+)\.seg(\d+)/([^@]+)(@\d+)")
"""An entry of a matrix on record: name, segment, feature, views."""
Matrices = dict[str, list[np.ndarray]]
"""By arm the matrix (T, T) of every run that saw the whole stream; row t is after segment t, columns are segments."""


def matrices(study: Path, metric: str = METRIC) -> Matrices:
    """The matrices of a study's compared runs, by the label of the arm.

    Args:
        metric: ``name/feature`` of the entries ``name.seg<i>/feature@views``, with its number of views or without.

    Raises:
        UsageError: no run of the folder recorded a whole stream of it; which metrics they have.
    """
    found: Matrices = defaultdict(list)
    on_record: set[str] = set()
    labels, seeds = _labels(study), _seeds(study)
    for path in sorted(study.glob("runs/*/records.jsonl")):
        lines = [line for line in read(path) if line["event"] == "eval" and line.get("epoch") is not None]
        rows = [row for line in sorted(lines, key=lambda line: line["epoch"]) if (row := _row(line["metrics"], metric))]
        # epoch 0 is the untrained model; an interrupted stream has fewer rows than segments
        # what chose an arm is in no mean of it
        compared = lines and lines[0]["arm_id"] in labels and lines[0]["seed"] in seeds
        # of the untrained model: what is compared with a segment's own end has no whole matrix
        first = lines[0]["metrics"] if lines else ()
        on_record |= {f"{hit[1]}/{hit[3]}" for name in first if (hit := ENTRY.fullmatch(name))}
        if rows and len(rows) == len(rows[0]) + 1 and compared:
            found[labels[lines[0]["arm_id"]]].append(np.array(rows[1:]))
    if not found:
        known = f"one of those on record: {', '.join(sorted(on_record))}" if on_record else "a study of streams"
        raise UsageError(f"{study}: no compared run recorded a whole stream of {metric}; give {known}")
    if all(len(one) == 1 for runs in found.values() for one in runs):
        raise UsageError(
            f"{study}: its streams have one segment, of which nothing is forgotten; give a study of several segments,"
            " or see python -m analysis samples"
        )
    # in the study's order, whatever the names of the runs' folders
    return {label: found[label] for label in dict.fromkeys(labels.values()) if label in found}


def heat_map(found: Matrices, metric: str = METRIC) -> Figure:
    """One panel per arm: the mean over seeds after each segment (rows) on each segment (columns)."""
    means = {name: np.mean(runs, axis=0) for name, runs in found.items()}
    low, high = _scale(metric, means)
    width = min(4, len(found))
    height = -(-len(found) // width)
    figure, panels = plt.subplots(
        height, width, figsize=(2.6 * width + 0.8, 2.6 * height), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(found) :]:
        panel.set_axis_off()
    for panel, (name, mean) in zip(panels.flat, means.items(), strict=False):
        # twenty segments share the width of five
        small = min(1.0, 10 / len(mean))
        image = panel.imshow(mean, vmin=low, vmax=high, cmap="cividis")
        for (t, i), value in np.ndenumerate(mean):
            colour = "w" if value < low + 0.55 * (high - low) else "k"
            digits = 0 if _percent(metric) else min(2, decimals(metric))
            text = f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero
            panel.text(i, t, text, ha="center", va="center", fontsize=7 * small, color=colour)
        panel.set_title("\n".join(textwrap.wrap(f"{name} (n={len(found[name])})", 26)), fontsize=8)
        panel.set_xticks(range(mean.shape[1]), range(1, mean.shape[1] + 1))
        panel.set_yticks(range(mean.shape[0]), range(1, mean.shape[0] + 1))
        panel.set_xlabel("segment"), panel.set_ylabel("after segment")
        panel.tick_params(labelsize=8 * small)
        panel.grid(False)
    figure.colorbar(image, ax=panels, label=_label(metric))
    figure.supxlabel("right of the diagonal: not seen yet", fontsize=8)
    return figure


def anytime(found: Matrices, metric: str = METRIC) -> Figure:
    """The mean over the segments seen so far, with its 95 % interval over seeds."""
    figure, panel = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    for number, (name, runs) in enumerate(found.items()):
        curves = np.array([[np.mean(one[t, : t + 1]) for t in range(len(one))] for one in runs])
        colour, dash = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        after = np.arange(1, curves.shape[1] + 1)
        panel.plot(after, curves.mean(0), dash, color=colour, label=f"{name} (n={len(runs)})", marker="o", markersize=3)
        if len(runs) > 2:
            half = np.array([mean_interval(column).half for column in curves.T], dtype=float)
            panel.fill_between(
                after, curves.mean(0) - half, curves.mean(0) + half, color=colour, alpha=0.1, linewidth=0
            )
    panel.set_xticks(after)
    panel.set_xlabel("segments seen"), panel.set_ylabel(f"mean over them: {_label(metric)}")
    panel.legend(fontsize=7, ncols=2)
    return figure


def render(study: Path, folder: Path, metric: str = METRIC) -> list[Path]:
    """Write ``forgetting.png`` and ``anytime.png``, of another metric than accuracy with its name in theirs.

    Raises:
        UsageError: nothing can be drawn.
    """
    found = matrices(study, metric)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    ending = "" if metric == METRIC else "-" + re.sub(r"[^\w.]+", "-", metric)
    for name, draw in ((f"forgetting{ending}", heat_map), (f"anytime{ending}", anytime)):
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(png(partial(draw, metric=metric), found))
    return paths


def _row(metrics: dict[str, float], metric: str) -> list[float]:
    """The entries of ``metric`` by segment, in their order; [] where there are none."""
    entries = {
        int(hit[2]): value
        for name, value in metrics.items()
        if (hit := ENTRY.fullmatch(name)) and metric in (f"{hit[1]}/{hit[3]}", f"{hit[1]}/{hit[3]}{hit[4]}")
    }
    return [entries[number] for number in sorted(entries)]


def _percent(metric: str) -> bool:
    return metric.startswith(("linacc", "knn"))


def _label(metric: str) -> str:
    """What a colour or a height is, short enough for the side of a figure."""
    return f"{metric} (%)" if _percent(metric) else metric


def _scale(metric: str, means: dict[str, np.ndarray]) -> tuple[float, float]:
    """The ends of the colours: of accuracies and R2 fixed, so that figures of two studies compare."""
    if _percent(metric):
        return 0.0, 100.0
    if metric.startswith("r2"):
        return 0.0, 1.0
    every = np.concatenate([mean.ravel() for mean in means.values()])
    return float(np.nanmin(every)), float(np.nanmax(every))


def _labels(study: Path) -> dict[str, str]:
    """Labels of the compared arms by id, as the report names them."""
    import analysis

    if not (study / "study.json").is_file():
        raise UsageError(f"{study}: is no study's folder; it has no study.json")
    arms = analysis.load(study).arms
    return dict(zip(arms["arm_id"], arms["label"], strict=True))


def _seeds(study: Path) -> list[int]:
    """Seeds that the study compares its arms on."""
    return json.loads((study / "study.json").read_text(encoding="utf-8"))["seeds"]
