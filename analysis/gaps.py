"""What a view alone knows beside what the aggregate knows, in every arm: leakage, with the controls that explain it."""

from __future__ import annotations

import numpy as np

from analysis.compare import mean_interval
from analysis.decimals import decimals
from analysis.differences import arms, names
from analysis.layout import Sheet
from analysis.render import EMPTY, number
from analysis.study import Study

GAPS = (
    ("linacc: z_agg - z_1", "linacc/z_agg@M", "linacc/z_1@1"),
    ("linacc: mean z - z_1", "linacc/z_mean@M", "linacc/z_1@1"),
    ("linacc: z_agg of 1 view - z_1", "linacc/z_agg@1", "linacc/z_1@1"),
    ("R2 of the pose: z_agg - z_1", "r2_pose/z_agg@M", "r2_pose/z_1@1"),
)
"""Heading, the metric of the whole, the metric of the part."""
_NOTE = (
    "Mean and half of the 95 % t interval of the difference within each run. Read an arm against the controls, and the"
    " aggregate against the plain mean of the same views: what the mean gains as well is not the aggregator's."
)


def gaps(study: Study) -> Sheet | None:
    """The gaps of every compared arm, controls included; None where none was measured."""
    columns, cells = [], []
    for heading, whole, part in GAPS:
        found = [_gap(study.measured(whole, key) - study.measured(part, key), decimals(whole)) for key in arms(study)]
        if any(cell != EMPTY for cell in found):
            columns.append(heading)
            cells.append(found)
    if not columns:
        return None
    short = [names(study)[key] for key in arms(study)]
    rows = [[name, *row] for name, row in zip(short, zip(*cells, strict=True), strict=True)]
    return Sheet("Leakage gaps", ["arm", *columns], rows, notes=(_NOTE,))


def _gap(differences: np.ndarray, digits: int) -> str:
    mean = mean_interval(differences.tolist())
    text = number(mean.mean, digits, sign=True)
    return text if np.isnan(mean.half) else f"{text} ± {number(mean.half, digits)}"
