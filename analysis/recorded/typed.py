"""Rows of a record as a frame with stable columns and types."""

from __future__ import annotations

from typing import Any

import pandas as pd


def typed(
    rows: list[dict[str, Any]],
    columns: list[str],
    number: tuple[str, ...] = (),
    whole: tuple[str, ...] = (),
    truth: tuple[str, ...] = (),
    text: bool = False,
) -> pd.DataFrame:
    """Rows with at least ``columns``; metrics, seconds and ``number`` float, ``whole`` nullable integers, ``truth``
    nullable truths; with ``text`` all other columns are strings."""
    frame = pd.DataFrame(rows)
    frame = frame.reindex(columns=columns + [name for name in frame.columns if name not in columns])
    metrics = [
        name for name in frame.columns if "/" in name or name.startswith(("seconds.", "core_seconds.", "objective."))
    ]
    types: dict[str, str] = dict.fromkeys((*metrics, *number), "float64")
    types |= dict.fromkeys(whole, "Int64") | dict.fromkeys(truth, "boolean")
    if text:
        types |= {name: "string" for name in frame.columns if name not in types}
    # the copy puts columns of one type into one block: hundreds make pandas slow, which it says on the console
    return frame.astype(types).copy()
