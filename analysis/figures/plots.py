"""Two figures: accuracy against a setting (search and confirmation), and accuracy against epoch."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from analysis.figures.labels import place_beside, right_labels
from analysis.figures.setting_axis import SettingAxis, placed, untrained_levels
from analysis.figures.style import DPI, FAINT, GREY, SIZE, YLABEL, colour_of, nothing
from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study, values
from analysis.recorded.trials import all_trials
from analysis.statistics.paired import mean_interval

NAMED = 11
"""Arms for whose names, of two lines each, the legend beside the curves has room; further ones are grey lines."""
_MARKERS = ("o", "s", "^", "v", "D", "x")
"""Tell several arms of one level and kind apart."""
_STYLES = {"best": "-", "reference": "--", "control": ":", "candidate": "-.", "grid": "-."}
_NARROW, _WIDE = 1.6, 5
_LEVELS = {"untrained": (0, (5, 3)), "pixels, M views": (0, (1, 2)), "pixels, 1 view": (0, (7, 2, 1, 2))}
"""Line styles of the levels that need no training."""


def setting_figure(study: Study) -> Figure:
    """Accuracy (percent) against the study's first number (log axis, 0 at a broken left place), a panel per level.

    Small points are search trials, hollow with the epoch they reached where they were stopped early;
    large points are confirmed arms with a 95 % t interval over seeds (smaller ones: the 2nd, 3rd, ... of the search),
    faint ones trials taken over from earlier studies.
    """
    asked = study.declared
    search = placed(all_trials(study.search, study.warm).dropna(subset=["value"]), asked)
    trained = placed(study.finals[study.finals["role"] != "untrained"], asked)
    found = set(search["level"]) | set(trained["level"].dropna())
    levels = [name for name in asked.levels if name in found] + sorted(found - set(asked.levels))
    both = pd.concat([search, trained])[["level", "setting"]].dropna()
    axis = SettingAxis(both["setting"])
    # a level that was only run at 0 needs no axis of decades
    above_zero = set(both.loc[both["setting"] > 0, "level"])
    only_zero = [name not in above_zero and axis.has_zero for name in levels]
    widths = [_NARROW if alone and not all(only_zero) else _WIDE for alone in only_zero] or [_WIDE]
    figure, panels = plt.subplots(
        1, len(widths), figsize=SIZE, dpi=DPI, sharey=True, squeeze=False, width_ratios=widths
    )
    axes, marks = list(panels[0]), set()
    if not levels:
        nothing(axes[0], "no trial and no arm on record yet")
    for panel, level in zip(axes, levels, strict=False):
        colour = colour_of(level, asked.levels)
        marks |= _trials(panel, axis, search[search["level"] == level], colour)
        marks |= _confirmed(panel, axis, study, level)
        panel.set_title(level if asked.stratum else "", color=colour, fontweight="bold")
        if not panel.has_data():
            nothing(panel, "no score on record")
    for panel, width in zip(axes, widths, strict=True):
        axis.apply(panel, only_zero=width == _NARROW or not axis.has_positive)
        panel.tick_params(left=panel is axes[0])
    axes[0].set_ylabel(YLABEL)
    untrained = untrained_levels(study)
    for panel in axes:
        for name, value in untrained.items():
            panel.axhline(value, color=GREY, linewidth=0.9, linestyle=_LEVELS[name], zorder=1)
    _room(axes[0])
    figure.suptitle(_title(study), fontsize=10.5, x=0.01, ha="left")
    of = "" if asked.axis is None else asked.axis.title or asked.axis.name
    figure.supxlabel(f"{of} (log scale{'; 0 apart' if axis.has_zero else ''})".lstrip(), fontsize=9, y=0.095)
    handles = _setting_legend(marks)
    if handles:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, -0.01)}
        figure.legend(handles=handles, **place, ncols=3, frameon=False, fontsize=8.5)
    figure.subplots_adjust(left=0.07, right=0.85, top=0.85, bottom=0.22, wspace=0.06)
    right_labels(axes[-1], untrained, GREY)
    for panel in axes:
        place_beside(panel)
    return figure


def curves_figure(study: Study) -> Figure:
    """Accuracy (percent) against epoch, mean and min..max over the complete runs of each arm.

    Runs that did not end are thin lines of their own: a mean over fewer and fewer seeds would mislead.
    """
    # accuracy is measured at probe epochs only; the lines connect them
    curves = study.curves.assign(linacc=values(study.curves, LINACC)).dropna(subset=["linacc"])
    figure, panel = plt.subplots(figsize=SIZE, dpi=DPI)
    handles, notes = [], {}
    shown = [key for key in study.arms.ordered if key[1] != "untrained"]
    ends = {key: values(study.arms.rows[key], LINACC).mean() for key in shown}
    named = set(sorted(shown, key=lambda key: -math.inf if math.isnan(ends[key]) else ends[key])[-NAMED:])
    for key in shown:
        rows = study.arms.rows[key]
        colour, style = (
            colour_of(study.arms.level(key), study.declared.levels),
            _STYLES.get(study.declared.kind(key[1]), "-"),
        )
        alike = sum(handle.get_color() == colour and handle.get_linestyle() == style for handle in handles)
        look = {"color": colour, "linestyle": style, "marker": _MARKERS[alike % len(_MARKERS)], "markersize": 4}
        of_arm = curves[curves["run_id"].isin(rows["run_id"])]
        whole = of_arm["run_id"].isin(rows.loc[rows["complete"], "run_id"])
        by_epoch = of_arm[whole].groupby("epoch")["linacc"]
        mean = by_epoch.mean()
        epochs = mean.index.to_numpy(dtype=float)
        if key not in named:
            panel.plot(epochs, mean, color=GREY, linewidth=0.5, zorder=1)
            continue
        width = 1.0 if key[1] == "candidate" else 1.8
        if len(epochs):
            panel.plot(epochs, mean, linewidth=width, markevery=max(1, len(epochs) // 12), **look)
        if len(epochs) and key[1] != "candidate":  # close to the best one by nature; their bands would hide it
            panel.fill_between(epochs, by_epoch.min(), by_epoch.max(), color=colour, alpha=0.13, linewidth=0)
            notes["band: min to max"] = None
        for _, run in of_arm[~whole].groupby("run_id"):
            panel.plot(run["epoch"].to_numpy(dtype=float), run["linacc"], linewidth=0.7, **(look | {"markersize": 2}))
            notes["thin: run not ended"] = None
        done = int(rows["complete"].sum())
        count = "" if key[1] == "candidate" and done == len(rows) else f"\nn = {done} of {len(rows)}"
        if of_arm.empty:  # named, but without a mark: there is none in the panel
            handles.append(Line2D([], [], linestyle="", label=f"{study.arms.names[key]}{count}, no score"))
        else:
            handles.append(Line2D([], [], linewidth=width, label=f"{study.arms.names[key]}{count}", **look))
    if len(shown) > len(named):
        handles.append(Line2D([], [], color=GREY, linewidth=0.5, label=f"{len(shown) - len(named)} arms below these"))
    levels = {name: value for name, value in untrained_levels(study).items() if name == "untrained"}
    for name, value in levels.items():
        panel.axhline(value, color=GREY, linewidth=0.9, linestyle=_LEVELS[name], zorder=1)
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=_LEVELS[name], label=f"{name} {value:.1f}"))
    if not panel.has_data() or curves.empty:
        nothing(panel, "no score of a compared arm on record")
    _room(panel)
    panel.set(xlabel="epoch", ylabel=YLABEL)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_title(", ".join([f"{study.name}: mean over n complete seeds", *notes]), loc="left")
    figure.subplots_adjust(left=0.07, right=0.74, top=0.91, bottom=0.11)
    if handles:
        place = {"loc": "upper left", "bbox_to_anchor": (0.745, 0.92)}
        figure.legend(handles=handles, **place, frameon=False, fontsize=8.5, handlelength=3.4)
    return figure


def _trials(panel: Axes, axis: SettingAxis, trials: pd.DataFrame, colour: str) -> set[str]:
    """Draw the trials of one level; returns which kinds of marks that took."""
    marks = set()
    for value, group in trials.groupby("setting"):
        for place, (_, trial) in enumerate(group.sort_values("value").iterrows()):
            # several trials at one value (a grid, or 0) are drawn side by side
            x = axis.at(value) + axis.step * (place - (len(group) - 1) / 2)
            whole = trial["state"] == "complete"
            marks.add(("whole" if whole else "stopped") + ("" if trial["own"] else ", taken over"))
            look = {"alpha": 1 if trial["own"] else FAINT, "markersize": 5, "zorder": 6}
            look |= (
                {"markeredgecolor": "white", "markeredgewidth": 0.6}
                if whole
                else {"markeredgecolor": colour, "markeredgewidth": 1.1}
            )
            panel.plot(x, trial["value"], "o", markerfacecolor=colour if whole else "white", **look)
            if not whole and pd.notna(trial["epoch"]):
                panel.annotate(f"{trial['epoch']}", (x, trial["value"]), fontsize=7, color=colour,
                               path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
    return marks


def _confirmed(panel: Axes, axis: SettingAxis, study: Study, level: str) -> set[str]:
    """Draw the means of a level's compared arms; returns which kinds of marks that took."""
    found: dict[tuple[bool, bool], list[tuple[float, float, float]]] = {}
    for key in study.arms.ordered:
        rows = placed(study.arms.rows[key], study.declared)
        if key[1] == "untrained" or rows.empty or rows["level"].iloc[0] != level:
            continue
        mean = mean_interval(values(rows, LINACC))
        if mean.n:
            alike = found.setdefault((key[1] == "candidate", not math.isnan(mean.half)), [])
            alike.append((axis.at(rows["setting"].iloc[0]), mean.mean, mean.half))
    marks = set()
    for (further, interval), means in found.items():
        marks |= {"further" if further else "confirmed", *(("interval",) if interval else ())}
        size, order = (5.5, 4.9) if further else (7.5, 5)
        x, y, half = zip(*means, strict=True)
        panel.errorbar(x, y, yerr=half if interval else None, fmt="D", markersize=size, capsize=4,
                       color=colour_of(level, study.declared.levels), markeredgecolor="black", ecolor="black",
                       elinewidth=1.3, zorder=order)  # fmt: skip
    return marks


def _title(study: Study) -> str:
    confirmed = study.finals[study.finals["role"] != "untrained"].groupby(["arm_id", "role"])["complete"].sum()
    seeds = f"{confirmed.min()} to {confirmed.max()}" if len(confirmed) and confirmed.min() != confirmed.max() else None
    n = f"n = {seeds or confirmed.max()} seeds" if len(confirmed) else "none yet"
    count, unseen = len(study.search), int(study.search["value"].isna().sum())
    gone = f", {unseen} of them without a score" if unseen else ""
    taken = f"; {len(study.warm)} taken over (faint)" if len(study.warm) else ""
    return f"{study.name}: {count} search trial{'' if count == 1 else 's'}{gone}{taken}; confirmed arms: {n}"


def _setting_legend(marks: set[str]) -> list[Line2D]:
    """An entry for every kind of mark that was drawn, and for no other."""

    def entry(label: str, **look: object) -> Line2D:
        return Line2D([], [], **{"linestyle": "", "marker": "o", "color": GREY, "markersize": 5, "label": label} | look)

    diamond = {"marker": "D", "markeredgecolor": "black"}
    interval = "mean, 95 % t interval" if "interval" in marks else "mean (interval: from 3 seeds)"
    entries = {
        "whole": entry("search trial, one seed"),
        "stopped": entry("stopped early; number: epoch reached", markerfacecolor="white"),
        "whole, taken over": entry("from an earlier study", alpha=FAINT),
        "stopped, taken over": entry("from an earlier study, stopped early", markerfacecolor="white", alpha=FAINT),
        "confirmed": entry(f"confirmed: {interval}", **diamond, markersize=7),
        "further": entry("confirmed, 2nd, 3rd, … of the search", **diamond, markersize=5.5),
    }
    return [handle for kind, handle in entries.items() if kind in marks]


def _room(panel: Axes) -> None:
    """A y range of at least two points of accuracy; figures without data keep 0 to 100."""
    if not panel.has_data() or not all(map(math.isfinite, panel.dataLim.intervaly)):
        panel.set_ylim(0, 100)
        return
    low, high = panel.get_ylim()
    pad = max(0.0, 2.0 - (high - low)) / 2
    panel.set_ylim(low - pad, high + pad)
