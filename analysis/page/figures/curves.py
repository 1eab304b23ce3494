"""The study's metric against epoch: seeds thin, the mean of complete runs thick, and where the untrained encoder
stands."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.page.facts import Facts
from analysis.page.figures.drawing import (
    COLOURS,
    DASHES,
    MARKERS,
    SOFT,
    WIDE,
    Refused,
    figure_of,
    look_of,
    thin_frame,
)
from analysis.page.figures.labels import End, end_labels
from analysis.recorded.study import values
from analysis.rendering.decimals import decimals
from analysis.rendering.render import number
from analysis.statistics.differences import Key
from analysis.statistics.paired import MIN_SEEDS, mean_interval

MOST = 8
"""Arms with a label: of more the first in the order of the tables, and the others are grey lines."""


def draw(facts: Facts, width: int) -> Figure:
    study, metric = facts.study, facts.study.declared.metric
    curves = _curves(facts)
    trained = [key for key in study.arms.ordered if key[1] != "untrained"]
    shown, others = trained[:MOST], trained[MOST:]
    if not shown:
        raise Refused("No arm has been compared yet.")
    if curves.empty or not curves["run_id"].isin([run for key in shown for run in study.arms.runs[key].values()]).any():
        raise Refused("No compared run has a value yet.")
    wide = width == WIDE
    figure, panel = figure_of(width, 330 if wide else 300)
    ends: list[End] = []
    for index, key in enumerate(shown):
        colour = _colour(facts, key, index)
        rows = study.arms.rows[key]
        of_arm = curves[curves["run_id"].isin(rows["run_id"])]
        done = rows.loc[rows["complete"].astype(bool), "run_id"]
        for _, run in of_arm.groupby("run_id"):
            panel.plot(run["epoch"].to_numpy(float), run["score"], color=colour, linewidth=0.7, alpha=0.6)
        whole = of_arm[of_arm["run_id"].isin(done)]
        if whole.empty:
            last = (
                of_arm.sort_values("epoch").groupby("run_id")["score"].last() if len(of_arm) else pd.Series(dtype=float)
            )
            if len(last):
                ends.append((f"{facts.names[key]} (open)", float(last.mean()), colour, "-"))
            continue
        summary = pd.DataFrame(
            [(epoch, *_interval(group)) for epoch, group in whole.groupby("epoch")], columns=["epoch", "mean", "half"]
        )
        epochs = summary["epoch"].to_numpy(float)
        panel.plot(epochs, summary["mean"], color=colour, linewidth=2.2, linestyle=DASHES[index % len(DASHES)],
                   marker=MARKERS[index % len(MARKERS)], markersize=4, markevery=max(1, len(epochs) // 8))  # fmt: skip
        if summary["half"].notna().any():
            panel.fill_between(epochs, summary["mean"] - summary["half"], summary["mean"] + summary["half"],
                               color=colour, alpha=0.12, linewidth=0)  # fmt: skip
        ends.append((facts.names[key], float(summary["mean"].iloc[-1]), colour, DASHES[index % len(DASHES)]))
    for key in others:
        mean = curves[curves["run_id"].isin(study.arms.rows[key]["run_id"])].groupby("epoch")["score"].mean()
        panel.plot(mean.index.to_numpy(float), mean, color=SOFT, linewidth=0.5, zorder=1)
    if (level := _untrained(facts)) is not None:
        panel.axhline(level, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ends.append(("untrained", level, SOFT, (0, (4, 3))))
    thin_frame(panel)
    unit = " (%)" if metric.unit == "percent" else f" ({metric.unit})" if metric.unit else ""
    more = f"; {len(others)} more arm{'s' if len(others) > 1 else ''} in grey" if others else ""
    panel.set_title(f"{metric.words}{unit}, validation{more}", fontsize=11)
    panel.set_xlabel("epoch")
    panel.xaxis.get_major_locator().set_params(integer=True)
    figure.subplots_adjust(left=0.07 if wide else 0.12, right=0.72 if wide else 0.97, top=0.91 if wide else 0.9,
                           bottom=0.14 if wide else 0.14)  # fmt: skip
    end_labels(figure, panel, ends, decimals(metric.name), beside=wide)
    return figure


def describe(facts: Facts) -> str:
    metric, parts = facts.study.declared.metric, []
    for _, row in facts.table.iterrows():
        key = (row["arm_id"], row["role"])
        mean = mean_interval(facts.study.measured(metric.name, key).tolist())
        if mean.n:
            parts.append(f"{row['arm']} ends at {number(mean.mean, decimals(metric.name))} (n = {mean.n})")
    band = f"bands: 95 % t interval from {MIN_SEEDS} seeds" if facts.study.curves["run_id"].nunique() else ""
    return f"{metric.words} by epoch. {'; '.join(parts) or 'no complete run yet'}. {band}".strip()


def _curves(facts: Facts) -> pd.DataFrame:
    curves = facts.study.curves
    return curves.assign(score=values(curves, facts.study.declared.metric.name)).dropna(subset=["score"])


def _interval(group: pd.DataFrame) -> tuple[float, float]:
    mean = mean_interval(group["score"].tolist())
    return mean.mean, mean.half


def _untrained(facts: Facts) -> float | None:
    rows = facts.study.finals[facts.study.finals["role"] == "untrained"]
    mean = values(rows, facts.study.declared.metric.name).mean()
    return float(mean) if pd.notna(mean) else None


def _colour(facts: Facts, key: Key, index: int) -> str:
    """By level, as in the other figures; what belongs to none is grey."""
    levels = facts.study.declared.levels
    if len(levels) < 2:
        return COLOURS[index % len(COLOURS)]
    return look_of(facts.study.arms.level(key), levels)["color"]
