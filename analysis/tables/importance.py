"""How much of the scores' variance each searched setting accounts for: fANOVA, exploratory and with its uncertainty.
It orders settings for a next search, and no verdict rests on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study, values
from analysis.rendering.layout import Sheet
from analysis.tables import fanova

FEWEST, FEWEST_EACH = 24, 6
"""Trials without which an importance says nothing: below, and below so many per setting, the order is that of chance
too often."""
MOST = 150
"""Trials that are looked at, drawn at random from more: the forest takes longer than the page may."""
ABOUT = (
    "Exploratory, in no verdict: the share of the variance of search scores that a forest (fANOVA) gives to each"
    " setting alone, over the settings as they were tried, which the search did not draw evenly. Range: the middle 90 %"
    f" of {fanova.RESAMPLES} resamples of the trials. Interactions are in no share."
)


@dataclass(frozen=True, eq=False)
class Importance:
    """What can be said.

    Attributes:
        shares: one row per setting, largest first: setting, share, low, high (0 to 1).
        epoch: at which all scores were measured.
        n: trials with a score there.
        others: what is not judged, in sentences.
    """

    shares: pd.DataFrame
    epoch: int
    n: int
    others: list[str]


_MADE: WeakKeyDictionary[Study, Importance | str] = WeakKeyDictionary()


def importance(study: Study) -> Importance | str:
    """The importances at the latest epoch that enough trials reached, or why there are none; made once per study."""
    if study not in _MADE:
        _MADE[study] = _importance(study)
    return _MADE[study]


def importance_sheet(found: Importance) -> Sheet:
    """As a table."""
    rows = [
        [row["setting"], f"{100 * row['share']:.0f} %", f"{100 * row['low']:.0f} to {100 * row['high']:.0f} %"]
        for _, row in found.shares.iterrows()
    ]
    title = f"Importance of searched settings at epoch {found.epoch}, n = {found.n} trials (exploratory)"
    return Sheet(title, ["setting", "share of variance", "range"], rows, notes=(ABOUT, *found.others))


def _importance(study: Study) -> Importance | str:
    if study.search.empty:
        return "No trial has started yet." if study.info.get("num_trials") else "Nothing was searched."
    settings = _settings(study)
    scores = _scores(study)
    counts = scores.notna().sum()
    enough = max(FEWEST, FEWEST_EACH * len(settings.columns))
    epochs = [epoch for epoch in sorted(counts.index, reverse=True) if counts[epoch] >= enough]
    if not epochs:
        most = int(counts.max()) if len(counts) else 0
        each = f"{enough} for {len(settings.columns)} settings"
        return f"{most} trials have a score at one epoch; importance needs {each}."
    at = scores[epochs[0]].dropna()
    found, others = _coded(settings.loc[at.index])
    if found.empty or at.nunique() < 2:
        return "Scores or settings do not vary, so no setting accounts for anything."
    n = len(at)
    if n > MOST:
        at = at.sample(MOST, random_state=0).sort_index()
        others.append(f"Of the {n} trials {MOST} were looked at, drawn at random.")
    codes = found.loc[at.index].to_numpy()
    share, low, high = _with_range(codes.tobytes(), at.to_numpy(float).tobytes(), len(at))
    shares = pd.DataFrame({"setting": list(found), "share": share, "low": low, "high": high})
    shares = shares.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    last = study.info.get("epochs")
    if epochs[0] != last:
        others.append(f"Too few trials reached epoch {last}: what matters at its end may differ.")
    without = len(study.search) - n
    if without:
        others.append(f"{without} trial{'s' if without > 1 else ''} without a score at this epoch not counted.")
    return Importance(shares, int(epochs[0]), n, others)


@lru_cache(maxsize=16)
def _with_range(codes: bytes, scores: bytes, n: int) -> np.ndarray:
    """Share, low and high of each setting, (3, settings); kept, since a live page asks at every change of a record. A
    process of its own: a live page would else hold the 90 MiB of Optuna and scikit-learn for as long as it stands.

    Args:
        codes: (n, settings) float64.
        scores: (n,) float64.
    """
    asked = {"codes": np.frombuffer(codes).reshape(n, -1).tolist(), "scores": np.frombuffer(scores).tolist()}
    environment = os.environ | {"PYTHONPATH": str(Path(fanova.__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", fanova.__name__], input=json.dumps(asked), env=environment, check=True, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    return np.array(json.loads(done.stdout))


def _settings(study: Study) -> pd.DataFrame:
    """What each trial's suggestion set, by run_id."""
    params: dict[str, dict[str, Any]] = {}
    for line in study.decisions:
        if line["event"] == "suggest" and line.get("run_id"):
            params[line["run_id"]] = line.get("params") or {}
    return pd.DataFrame.from_dict(params, orient="index", dtype=object)


def _scores(study: Study) -> pd.DataFrame:
    """Search scores by run_id and epoch, of own trials alone."""
    known = study.curves.assign(score=values(study.curves, LINACC)).dropna(subset=["score"])
    known = known[known["run_id"].isin(study.search["run_id"]) & np.isfinite(known["score"]) & (known["epoch"] > 0)]
    return known.pivot_table(index="run_id", columns="epoch", values="score")


def _coded(settings: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Settings as numbers that a forest cuts: the rank of a number, so that a scale with a 0 apart needs no choice; the
    place of a word. Those that some trials have not, or that never vary, are told instead."""
    found, partly, constant = {}, [], []
    for name, column in settings.items():
        if column.isna().any():
            partly.append(f"{name} ({int(column.notna().sum())} of {len(column)})")
        elif column.map(str).nunique() < 2:
            constant.append(str(name))
        else:
            number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
            found[name] = column.astype(float).rank(method="dense") if number else pd.factorize(column.map(str))[0]
    said = [f"Not judged, since only some trials have it: {', '.join(partly)}."] if partly else []
    said += [f"Not judged, since it did not vary: {', '.join(constant)}."] if constant else []
    return pd.DataFrame(found, settings.index, dtype=float), said
