"""The tables of a paper by their names. Each is made of one frame of numbers, which is its CSV: Markdown, LaTeX and
HTML are its cells. What a study lacks is said below its table, or in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.rendering.layout import Sheet
from analysis.sentences.searched import incomplete
from analysis.statistics.cost import cost
from analysis.tables.cost_table import cost_absent, cost_numbers, cost_sheets
from analysis.tables.gate_table import gate_numbers, gate_sheets, gates_absent
from analysis.tables.leakage import gap_numbers, gap_sheets, gaps_absent
from analysis.tables.paper_frames import arm_numbers, arm_sheets, contrast_numbers, contrast_sheets
from analysis.tables.subspace_table import subspace_absent, subspace_numbers, subspace_sheets


class Table(NamedTuple):
    """One table.

    Attributes:
        numbers: its frame, in full precision, of all studies.
        sheets: of the rows of one study.
        absent: what one study's rows lack, in sentences.
    """

    numbers: Callable[[Frames], pd.DataFrame]
    sheets: Callable[[pd.DataFrame, Frames], list[Sheet]]
    absent: Callable[[Study, pd.DataFrame], list[str]]


def _nothing_compared(study: Study, found: pd.DataFrame) -> list[str]:
    if len(found):
        return []
    alone = not study.finals.empty and not study.declared.contrasts
    return ["No contrast was declared, and no arm has a reference." if alone else "Nothing has been compared yet."]


TABLES = {
    "arms": Table(arm_numbers, arm_sheets, _nothing_compared),
    "contrasts": Table(contrast_numbers, contrast_sheets, _nothing_compared),
    "gates": Table(gate_numbers, lambda found, _: gate_sheets(found), lambda study, _: gates_absent(study)),
    "leakage": Table(gap_numbers, lambda found, _: gap_sheets(found), gaps_absent),
    "subspace": Table(subspace_numbers, lambda found, _: subspace_sheets(found), subspace_absent),
    "cost": Table(cost_numbers, lambda found, _: cost_sheets(found), cost_absent),
}
USUAL = ("arms", "contrasts")
"""What stands in a paper's main text."""


def paper_tables(frames: Frames, name: str, progress: bool = False) -> tuple[pd.DataFrame, list[Sheet]]:
    """The frame of a table, and its cells study by study, with what is missing below; a sheet without rows holds only
    that.

    Args:
        progress: say also what a study has not run yet.
    """
    table = TABLES[name]
    numbers, sheets = table.numbers(frames), []
    for study, called in frames.named():
        own = numbers[numbers["study"] == called]
        made = table.sheets(own, frames) or [Sheet(f"{called}: {name}", [], [])]
        said = [*table.absent(study, own), *(incomplete(study, cost(study)) if progress else [])]
        sheets += [*made[:-1], replace(made[-1], notes=(*made[-1].notes, *said))]
    return numbers, sheets
