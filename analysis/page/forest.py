"""The declared contrasts as a table with a forest: per row the seeds as ticks, the mean as a dot, and the interval that
decides. Drawn as a few marks in per cent of the cell's width, so that text beside it keeps its size on every screen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from analysis.page.facts import Facts
from analysis.page.words import planned_pairs, unit_of
from analysis.recorded.study import Study
from analysis.rendering.decimals import decimals
from analysis.rendering.render import interval, number, p_value, smallest
from analysis.statistics.differences import SAME_ARM, resolve
from analysis.statistics.family import BETTER, DIVERGED, NO_VERDICT, NOT_RESOLVED, PENDING, WORSE
from analysis.statistics.paired import MIN_SEEDS

PRIMARY = 6
"""Rows; a study with more contrasts has the others in the table of all differences."""
_HEIGHT, _MIDDLE = 30, 15
_WORDS = {NO_VERDICT: "no verdict", DIVERGED: "no verdict", SAME_ARM: "the reference won", PENDING: PENDING}


@dataclass(frozen=True)
class Row:
    """One contrast.

    Attributes:
        planned: it has no difference yet.
        level: ``good``, ``bad``, ``open`` or ``none``: how the word is marked, beside the word itself.
    """

    question: str
    against: str
    verdict: str
    level: str
    difference: str
    n: str
    p: str
    note: str
    drawing: Markup
    planned: bool = False


def pairs(study: Study, line: pd.Series) -> dict[int, float]:
    """Difference by seed, of the seeds that both arms have."""
    one, other = (line["arm_id"], line["role"]), (line["reference_arm_id"], line["reference_role"])
    metric = next((c.metric for c in study.declared.contrasts if c.question == line["question"]), line["metric"])
    a, b = (dict(zip(study.arms.runs[key], study.measured(metric, key).tolist(), strict=True)) for key in (one, other))
    found = {seed: a[seed] - b[seed] for seed in a if seed in b}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def forest(facts: Facts) -> list[Row]:
    """The rows, in the order of the declaration; planned ones are empty."""
    study = facts.study
    lines = {line["question"]: line for _, line in facts.primary.iterrows()}
    seeds = {question: pairs(study, line) for question, line in lines.items()}
    scales = _scales(lines, seeds)
    rows = []
    for contrast in study.declared.contrasts[:PRIMARY]:
        line = lines.get(contrast.question)
        if line is None or resolve(study, contrast) is None:
            rows.append(
                Row(
                    contrast.question,
                    f"{contrast.arm} minus {contrast.reference}",
                    "not compared yet",
                    "none",
                    "-",
                    f"0/{len(study.info.get('seeds') or [])}",
                    "-",
                    "",
                    _drawing({}, None, 1.0),
                    planned=True,
                )  # fmt: skip
            )
            continue
        rows.append(_row(facts, line, seeds[contrast.question], scales[line["metric"]]))
    return rows


def scale_words(facts: Facts) -> str:
    """What the axis is: differences in one unit, or each row's own."""
    metrics = {one.metric: one for one in facts.study.declared.contrasts}
    if len(metrics) != 1:
        return "each contrast's metric, on a scale of its own"
    one = next(iter(metrics.values()))
    return f"{one.measures} ({'points' if one.unit == 'percent' else one.unit or 'its own unit'})"


def axis(facts: Facts) -> Markup:
    """The ends of the axis and 0; nothing for several scales."""
    lines = {line["question"]: line for _, line in facts.primary.iterrows()}
    scales = _scales(lines, {question: pairs(facts.study, line) for question, line in lines.items()})
    if len(scales) != 1:
        return Markup("")
    (metric, half), digits = next(iter(scales.items())), 0
    if half < 10:
        digits = decimals(metric)
    marks = [("3%", "start", -half), ("50%", "middle", 0.0), ("97%", "end", half)]
    texts = [
        Markup('<text x="{}" y="11" text-anchor="{}">{}</text>').format(x, anchor, number(value, digits, value != 0))
        for x, anchor, value in marks
    ]
    return Markup('<svg class="forest axis" width="100%" height="14" aria-hidden="true">{}</svg>').format(
        Markup("").join(texts)
    )


def _row(facts: Facts, line: pd.Series, seeds: dict[int, float], half: float) -> Row:
    digits, verdict = decimals(line["metric"]), line["verdict"]
    decided = verdict in (BETTER, WORSE, NOT_RESOLVED)
    low, high = (line["adjusted_low"], line["adjusted_high"]) if decided else (line["low"], line["high"])
    unit = unit_of(facts, line["question"]).strip()
    same = verdict == SAME_ARM
    difference = "-" if same else interval(line["mean"], low, high, digits)
    note = f"p {p_value(line['p_holm'])} (Holm)" if decided else ""
    if verdict == NOT_RESOLVED:
        note = f"needs {smallest(line['resolvable'], digits)}; {note}"
    elif verdict == PENDING:
        note = "runs are open; unadjusted interval"
    elif verdict == NO_VERDICT:
        note = f"fewer than {MIN_SEEDS} seeds"
    elif verdict == DIVERGED:
        note = "the arm ahead has runs that diverged"
    planned = planned_pairs(facts, line)
    level = {BETTER: "good", WORSE: "bad"}.get(verdict, "open")
    return Row(
        line["question"], f"{line['arm']} minus {line['reference']}", _WORDS.get(verdict, verdict), level,
        f"{difference} {unit}".rstrip() if line["n"] else _no_value(facts, line, planned),
        f"{line['n']}/{planned}", p_value(line["p_holm"]), note,
        _drawing({} if same else seeds, None if same or not line["n"] else (line["mean"], low, high), half),
    )  # fmt: skip


def _no_value(facts: Facts, line: pd.Series, planned: int) -> str:
    sides = [(line["arm_id"], line["role"]), (line["reference_arm_id"], line["reference_role"])]
    if any(map(facts.study.arms.open_runs, sides)):
        return "runs are open"
    return f"no value in {planned} of {planned} seeds"


def _scales(lines: dict[str, pd.Series], seeds: dict[str, dict[int, float]]) -> dict[str, float]:
    """Half of the axis of each metric: every mark of its contrasts fits."""
    found: dict[str, float] = {}
    for question, line in lines.items():
        ends = [
            *seeds[question].values(),
            *(line[name] for name in ("mean", "low", "high", "adjusted_low", "adjusted_high")),
        ]
        reach = max((abs(value) for value in ends if math.isfinite(value)), default=0.0)
        found[line["metric"]] = max(found.get(line["metric"], 0.0), reach)
    return {metric: _round_up(reach) for metric, reach in found.items()}


def _round_up(reach: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``reach``."""
    if reach <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(reach))
    return next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= reach * (1 - 1e-9))


def _drawing(seeds: dict[int, float], summary: tuple[float, float, float] | None, half: float) -> Markup:
    def at(value: float) -> str:
        return f"{50 + 47 * max(-1.0, min(1.0, value / half)):.2f}%"

    marks = [Markup('<line class="zero" x1="50%" x2="50%" y1="0" y2="{}"/>').format(_HEIGHT)]
    if summary is not None:
        mean, low, high = summary
        if math.isfinite(low):
            marks.append(Markup('<line class="ci" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                at(low), at(high), _MIDDLE, _MIDDLE))  # fmt: skip
        marks += [
            Markup('<line class="seed" x1="{x}" x2="{x}" y1="5" y2="25"/>').format(x=at(value))
            for value in seeds.values()
        ]
        marks.append(Markup('<circle cx="{}" cy="{}" r="5"/>').format(at(mean), _MIDDLE))
    return Markup('<svg class="forest" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        _HEIGHT, Markup("").join(marks)
    )
