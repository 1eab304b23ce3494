"""The end of a study on one screen: its question, the answer to each declared contrast, the table, and where the rest
is."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pandas as pd

from analysis.recorded.registered import registered
from analysis.recorded.study import Study
from analysis.rendering.decimals import decimals
from analysis.rendering.layout import Sheet, narrowed
from analysis.rendering.render import accuracy_title, interval, short_accuracy
from analysis.sentences.claims import unresolved
from analysis.sentences.controls import failed_controls
from analysis.sentences.predicted import short
from analysis.sentences.search_only import best_found
from analysis.sentences.searched import missing
from analysis.statistics.cost import Cost
from analysis.statistics.differences import SAME_ARM, resolve
from analysis.statistics.family import NO_VERDICT, NOT_RESOLVED
from trainer.command.terminal import command_lines

LINES = 25
"""All that is printed by default; a terminal has 40 and the command and its last progress stand there too."""
ANSWERS = 6


def question(study: Study, width: int) -> list[str]:
    asked = study.declared.question
    return textwrap.wrap(f"{study.name}: {asked}" if asked else study.name, width)[:3]


def answers(study: Study, found: pd.DataFrame, spent: Cost, width: int) -> list[str]:
    """At most a line that says how to read them and ``ANSWERS`` lines: what is missing, then one line per primary
    contrast."""
    primary = found[found["primary"]]
    open_ = [
        line
        for sentence in [*missing(study, spent), *_altered(study), *failed_controls(study)]
        for line in textwrap.wrap(_cut(sentence, 2 * width - 4), width)
    ]
    if primary.empty and (asked := [*best_found(study), *short(study)]):
        return [*open_, *(line for text in asked for line in textwrap.wrap(text, width))][: ANSWERS + 1]
    if primary.empty:
        return [
            *(
                open_
                or [
                    (
                        "None of the declared contrasts has been run yet."
                        if study.declared.contrasts
                        else "No contrast was declared: no verdict."
                    )
                ]
            )
        ]
    absent = [one.question for one in study.declared.contrasts if resolve(study, one) is None]
    room = ANSWERS - len(open_) - bool(absent)
    shown = primary if len(primary) <= room else primary.iloc[: max(0, room - 1)]
    few = (primary["verdict"] == NO_VERDICT).all()  # which the first line says of all of them
    several = len({one.metric for one in study.declared.contrasts}) > 1
    rows = [[*_row(line, few), _words(study, line["question"]) if several else ""] for _, line in shown.iterrows()]
    sheet = narrowed(Sheet("", [""] * 4, rows, text=2, optional=(3, 2)), width)
    widths = [max((len(row[column]) for row in sheet.rows), default=0) for column in range(len(sheet.columns))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in sheet.rows]
    if len(shown) < len(primary):
        lines.append(f"... and {len(primary) - len(shown)} more")
    if absent:
        lines.append(_cut(f"not compared: {'; '.join(absent)}", width))
    return [*textwrap.wrap(_reading(study, primary), width), *open_, *lines]


def table(study: Study, numbers: pd.DataFrame, found: pd.DataFrame, width: int, room: int) -> tuple[Sheet | None, str]:
    """The arms that the answers are about, then controls and others as far as ``room`` lines hold them; and what is
    left out."""
    if numbers.empty:
        return None, ""
    sheet = narrowed(short_accuracy(numbers, study.declared), width)
    title = accuracy_title(numbers, study.declared, sheet.columns)
    rows_left = room - len(textwrap.wrap(title, width)) - max(column.count("\n") + 1 for column in sheet.columns) - 1
    asked = found[found["primary"]]
    wanted = {
        *zip(asked["arm_id"], asked["role"], strict=True),
        *zip(asked["reference_arm_id"], asked["reference_role"], strict=True),
    }
    keys = list(zip(numbers["arm_id"], numbers["role"], strict=True))
    rank = {"control": 1, "untrained": 1, "best": 2, "reference": 2}
    order = sorted(
        range(len(keys)),
        key=lambda place: 0 if keys[place] in wanted else rank.get(study.declared.kind(keys[place][1]), 3),
    )
    kept = sorted(order[: max(1, rows_left)])
    left_out = len(keys) - len(kept)
    rest = f"{left_out} more arm{'s' if left_out > 1 else ''} in the report" if left_out else ""
    return Sheet(title, sheet.columns, [sheet.rows[place] for place in kept], sheet.text), rest


def where(report: str, folder: Path, width: int, rest: str) -> list[str]:
    """The path of the report, which has the rest, and the command that prints it; neither is broken within a word."""
    return [f"{rest or 'Report'}: {report}", *command_lines(f"python -m analysis {_quoted(folder)} --full", width)]


def _reading(study: Study, primary: pd.DataFrame) -> str:
    few = primary["verdict"] == NO_VERDICT
    if few.all():
        n = int(primary["n"].max())
        return (
            f"{NO_VERDICT.capitalize()} ({n} seed{'' if n == 1 else 's'}). Observed differences in {_measured(study)}:"
        )
    n = sorted({int(value) for value in primary.loc[~few, "n"]})
    seeds = f"{n[0]} to {n[-1]}" if len(n) > 1 else f"{n[0]}"
    asked = len(study.declared.contrasts)
    adjusted = f", adjusted for {asked} (Holm)" if asked > 1 else ""
    return (
        f"{_measured(study)[0].upper()}{_measured(study)[1:]}{adjusted}, {seeds} seeds; needs: smallest that resolves:"
    )


def _altered(study: Study) -> list[str]:
    """A registration that no longer holds belongs beside the answer."""
    return [sentence for sentence in registered(study) if sentence.startswith("CHANGED")]


def _measured(study: Study) -> str:
    """What the differences are in."""
    metrics = {one.metric: one for one in study.declared.contrasts}
    return "each contrast's metric" if len(metrics) > 1 else _words(study, study.declared.contrasts[0].question)


def _words(study: Study, question: str) -> str:
    """``points of z_agg``, ``prediction loss``."""
    one = next(one for one in study.declared.contrasts if one.question == question)
    return f"points of {one.measures.removeprefix('linear accuracy of ')}" if one.unit else one.measures


def _row(line: pd.Series, few: bool) -> list[str]:
    adjusted = interval(line["mean"], line["adjusted_low"], line["adjusted_high"], decimals(line["metric"]))
    if line["verdict"] == SAME_ARM:
        return [line["question"], "same arm", "-"]
    if line["verdict"] == NO_VERDICT:
        return [line["question"], *((adjusted, "") if few else (f"no verdict, n={line['n']}", adjusted))]
    return [line["question"], unresolved(line) if line["verdict"] == NOT_RESOLVED else line["verdict"], adjusted]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3].rpartition(" ")[0] + "..."


def _quoted(folder: Path) -> str:
    """A path that a shell takes as one word."""
    text = str(folder)
    text = f"./{text}" if text.startswith("-") else text  # no option
    return text if re.fullmatch(r"[\w./~+:@%-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"
