"""Rows of several studies in one table, where their settings allow it."""

from __future__ import annotations

import pandas as pd

from analysis.comparison import count, headed, mean_cell, whole
from analysis.frames.read import Frames
from analysis.layout import Sheet
from analysis.render import number
from trainer.errors import UsageError

ALIKE = {"metric": "metric", "dataset": "data set", "split_hash": "split", "epochs": "number of epochs"}
"""What must agree between studies, and how it is called."""
DATA = "config.data."
_NOTE = (
    "Rows of different studies share no declaration and no family, so no test sets them against each other: a"
    " difference between studies is an observation. Mean and half of the 95 % t interval over n runs."
)


def side_by_side(frames: Frames) -> Sheet:
    """The compared arms of all studies in one table.

    Raises:
        UsageError: fewer than two studies, one without a compared arm, or settings that differ; which, and how.
    """
    studies = frames.studies
    if len(studies) < 2:
        raise UsageError(f"{len(studies) or 'no'} study to compare; give two study folders or more")
    arms = frames.arms[frames.arms["origin"] == "study"]
    for study in studies["study"]:
        if not (arms["study"] == study).any():
            raise UsageError(f"{study} has no compared arm yet; compare it when it has")
    if problem := _difference(studies, arms):
        raise UsageError(f"these studies cannot stand in one table: {problem}")
    rows = []
    for name in studies["study"]:
        for _, row in arms[arms["study"] == name].iterrows():
            at = [name, row["arm"], row["role"], count(row, "n", "planned"), whole(row["epoch"]), mean_cell(row)]
            rows.append([*at, number(row["search_value"]), _commit(row)])
    columns = ["study", "arm", "role", "n", "epoch", headed(studies.iloc[0].to_dict()), "search score", "commit"]
    first = studies.iloc[0]
    title = f"{len(studies)} studies on {first['dataset']}, {first['epochs']} epochs"
    return Sheet(title, columns, rows, 3, notes=(_NOTE, *_commits(studies)))


def numbers(frames: Frames) -> pd.DataFrame:
    """The same rows in full precision. Raises UsageError as ``side_by_side``."""
    side_by_side(frames)
    columns = ["study", "arm", "role", "n", "planned", "epoch", "metric", "mean", "low", "high", "search_value"]
    arms = frames.arms[frames.arms["origin"] == "study"]
    return arms[[*columns, "arm_id", "commit", "dirty"]].reset_index(drop=True)


def _difference(studies: pd.DataFrame, arms: pd.DataFrame) -> str | None:
    """The first setting in which two studies differ that must not; None if their numbers mean the same."""
    for column, words in ALIKE.items():
        if studies[column].nunique(dropna=False) > 1:
            return _told(words, {row["study"]: [row[column]] for _, row in studies.iterrows()})
    for column in [name for name in arms if name.startswith(DATA)]:
        values = {
            study: sorted({str(value) for value in rows[column] if pd.notna(value)})
            for study, rows in arms.groupby("study", sort=False)
        }
        if len({tuple(of_study) for of_study in values.values()}) > 1:
            return _told(column.removeprefix("config."), values)
    return None


def _told(what: str, values: dict[str, list[object]]) -> str:
    shown = (f"{study} has {' and '.join(map(_short, of_study)) or 'none'}" for study, of_study in values.items())
    return f"{what} differs ({'; '.join(shown)})"


def _short(value: object) -> str:
    text = "none on record" if pd.isna(value) else str(value)
    return text[:12] if len(text) == 64 else text


def _commit(row: pd.Series) -> str:
    text = "+".join(commit[:10] for commit in str(row["commit"]).split("+")) if pd.notna(row["commit"]) else "-"
    return f"{text} (changed)" if row["dirty"] is True else text


def _commits(studies: pd.DataFrame) -> list[str]:
    known = {commit for joined in studies["commit"].dropna() for commit in joined.split("+")}
    return [f"The rows come from {len(known)} code versions."] if len(known) > 1 else []
