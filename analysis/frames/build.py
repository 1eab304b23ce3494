"""Rows as frames of the columns and types in ``columns``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.frames.columns import CATEGORIES, CATEGORY, COLUMNS, NUMBER, TEXT, TRUTH, WHOLE
from trainer.record.dotted import dotted

SETTINGS = {"arms": "config.", "trials": "param."}


def frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The frame ``name`` of ``rows``: its columns in their order, then whatever else the rows hold, sorted."""
    columns = COLUMNS[name]
    given = pd.DataFrame.from_records(rows) if rows else pd.DataFrame()
    fixed = {column.name for column in columns}
    further = sorted(column for column in given.columns if column not in fixed)
    found = {column.name: typed(given.get(column.name), len(rows), column.name, column.dtype) for column in columns}
    for column in further:
        if column.startswith(SETTINGS.get(name, "\0")):
            found[column] = setting(given[column])
        else:
            counts = name == "arms" and column.endswith("_n")
            found[column] = typed(given[column], len(rows), column, WHOLE if counts else NUMBER)
    return pd.DataFrame(found)


def typed(given: pd.Series | None, length: int, name: str, dtype: str) -> pd.Series:
    """A column of a stated type; what is absent is missing."""
    kind: Any = pd.CategoricalDtype(CATEGORIES[name]) if dtype == CATEGORY else dtype
    if given is None:
        return pd.Series([None] * length, dtype=object).astype(kind)
    return (
        given.astype(object).where(given.notna(), None).astype(kind)
        if dtype in (CATEGORY, TEXT)
        else given.astype(kind)
    )


def setting(given: pd.Series) -> pd.Series:
    """A setting's values: numbers, truths or text."""
    known = [value for value in given if not _missing(value)]
    if known and all(isinstance(value, bool) for value in known):
        return given.astype(TRUTH)
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return given.astype(NUMBER)
    words = [None if _missing(value) else value if isinstance(value, str) else json.dumps(value) for value in given]
    return pd.Series(words, given.index, dtype=TEXT)


def flat(settings: Mapping[str, Any], prefix: str = "config.", without: Iterable[str] = ()) -> dict[str, Any]:
    """Nested settings under dotted names; what is null is left out."""
    found = dotted({name: value for name, value in settings.items() if name not in without}, prefix)
    return {name: value for name, value in found.items() if value is not None}


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def conflicts(epochs: pd.DataFrame) -> pd.Series:
    """Whether a row of ``epochs`` has the key of another one and another value of some metric."""
    key = ["study", "run_id", "origin", "split", "epoch", "step"]
    twice = epochs[epochs.duplicated(key, keep=False)]
    marked = pd.Series(False, epochs.index, dtype=TRUTH)
    if len(twice):
        known = {column.name for column in COLUMNS["epochs"]}
        metrics = [name for name in epochs if name not in known and not name.startswith("seconds.")]
        differ = twice.groupby(key, dropna=False, observed=True)[metrics].transform("nunique").gt(1).any(axis=1)
        marked[differ.index] = differ
    return marked
