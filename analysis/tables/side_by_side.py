"""Rows of several studies in one table, where their settings allow it."""

from __future__ import annotations

import pandas as pd

from analysis.frames.build import flat
from analysis.frames.read import Frames
from analysis.recorded.study import Study
from analysis.rendering.layout import Sheet
from analysis.rendering.render import number
from analysis.tables.paper_frames import count, headed, mean_cell, whole
from trainer.errors import UsageError
from trainer.record.probing import probing

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
    if problem := _difference(frames, arms):
        raise UsageError(f"these studies cannot stand in one table: {problem}")
    rows = []
    for name in studies["study"]:
        for _, row in arms[arms["study"] == name].iterrows():
            at = [name, row["arm"], row["role"], count(row, "n", "planned"), whole(row["epoch"]), mean_cell(row)]
            rows.append([*at, number(row["search_value"]), _commit(row)])
    columns = ["study", "arm", "role", "n", "epoch", headed(studies.iloc[0].to_dict()), "search score", "commit"]
    first = studies.iloc[0]
    on = f" on {first['dataset']}" if pd.notna(first["dataset"]) else ""
    long = f", {first['epochs']} epochs" if pd.notna(first["epochs"]) else ""
    title = f"{len(studies)} studies{on}{long}"
    return Sheet(title, columns, rows, 3, notes=(_NOTE, *_commits(studies)))


def numbers(frames: Frames) -> pd.DataFrame:
    """The same rows in full precision. Raises UsageError as ``side_by_side``."""
    side_by_side(frames)
    columns = ["study", "arm", "role", "n", "planned", "epoch", "metric", "mean", "low", "high", "search_value"]
    arms = frames.arms[frames.arms["origin"] == "study"]
    return arms[[*columns, "arm_id", "commit", "dirty"]].reset_index(drop=True)


def _difference(frames: Frames, arms: pd.DataFrame) -> str | None:
    """The first setting in which two studies differ that must not; None if their numbers mean the same."""
    studies = frames.studies
    for column, words in ALIKE.items():
        if studies[column].nunique(dropna=False) > 1:
            return _told(words, {row["study"]: [row[column]] for _, row in studies.iterrows()})
    values = _data_settings(frames, arms)
    for name in sorted({name for of_study in values.values() for name in of_study}):
        found = {study: of_study.get(name, []) for study, of_study in values.items()}
        if len({tuple(one) for one in found.values()}) > 1:
            return _told(name.removeprefix("config."), found)
    measured = {name: _probing(study) for study, name in frames.named()}
    for key in dict.fromkeys(key for of_study in measured.values() for key in of_study):
        found = {study: [of_study[key]] for study, of_study in measured.items() if key in of_study}
        if len({str(one) for one in found.values()}) > 1:
            return _told(key, found)
    return None


def _probing(study: Study) -> dict[str, object]:
    """How its runs were measured: all of a study alike."""
    return next((probing(run.config) for run in study.runs.values() if run.config), {})


def _data_settings(frames: Frames, arms: pd.DataFrame) -> dict[str, dict[str, list[object]]]:
    """Per study the values of each setting of the data.

    study.json has them as they are hashed, without fields that later code added and that stand at what they were
    before; what a run's record has beside them, as arms of one study may differ in it, counts where it varies.
    """
    noted = [(study.info.get("base") or {}).get("data") for study in frames.loaded]
    found: dict[str, dict[str, list[object]]] = {}
    for name, base in zip(frames.studies["study"], noted, strict=True):
        of_study = arms[arms["study"] == name]
        columns = [column for column in arms if column.startswith(DATA)]
        if all(noted):
            found[name] = {column: [str(value)] for column, value in flat(base, DATA).items()}
            columns = [column for column in columns if of_study[column].nunique(dropna=False) > 1]
        else:
            found[name] = {}
        for column in columns:
            found[name][column] = sorted({str(value) for value in of_study[column] if pd.notna(value)})
    return found


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
