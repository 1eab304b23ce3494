"""Whether an earlier epoch predicts the end: the order of the search's full-length trials then and at the last
epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study, values
from analysis.rendering.render import number
from analysis.statistics.paired import CONFIDENCE

RESAMPLES = 2000
FEWEST = 4
"""Trials without which a rank correlation says nothing."""
_COLUMNS = ["epoch", "last", "n", "correlation", "low", "high", "regret", "kept"]


def prediction(study: Study) -> pd.DataFrame:
    """One row per declared earlier epoch.

    ``correlation`` is Spearman's over the n trials that have a score at both epochs, with a 95 % bootstrap interval
    over trials (NaN below ``FEWEST``); ``regret`` the points lost at the last epoch by choosing the best trial of the
    earlier one; ``kept`` whether the best trial of the last epoch is among the best third of the earlier one.
    """
    last = study.info.get("epochs")
    scores = study.curves.assign(score=values(study.curves, LINACC)).dropna(subset=["score"])
    by_run = scores[scores["run_id"].isin(study.search["run_id"])].pivot_table(
        index="run_id", columns="epoch", values="score"
    )
    rows = []
    for epoch in study.declared.predicts:
        if epoch not in by_run or last not in by_run:
            rows.append({"epoch": epoch, "last": last, "n": 0})
            continue
        both = by_run[[epoch, last]].dropna().sort_index()
        rows.append(
            {"epoch": epoch, "last": last, "n": len(both)} | agreement(both[epoch].to_numpy(), both[last].to_numpy())
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def predicted(study: Study) -> list[str]:
    """The same in sentences; nothing for a study that does not ask."""
    return [_sentence(row) for _, row in prediction(study).iterrows()]


def short(study: Study) -> list[str]:
    """The same in a line per epoch, for the end of a study on a terminal."""
    return [
        f"epoch {row['epoch']} predicts {row['last']}: rank correlation {_interval(row)}, regret"
        f" {number(row['regret'])} points (n = {row['n']})"
        for _, row in prediction(study).iterrows()
        if row["n"]
    ]


def agreement(early: np.ndarray, late: np.ndarray) -> dict[str, float | bool]:
    """``regret``, ``kept``; from ``FEWEST`` trials ``correlation`` with ``low`` and ``high``: see ``prediction``."""
    if not len(late):
        return {}
    best, chosen = int(late.argmax()), int(early.argmax())
    third = max(1, len(early) // 3)
    found: dict[str, float | bool] = {
        "regret": float(late[best] - late[chosen]),
        "kept": bool((early > early[best]).sum() < third),
    }
    if len(early) < FEWEST:
        return found
    random = np.random.default_rng(0)  # the same interval each time the report is made
    drawn = random.integers(0, len(early), (RESAMPLES, len(early)))
    parts = np.array_split(drawn, max(1, drawn.size // 1_000_000))  # ranks of a part at a time fit into memory
    resampled = np.concatenate([_spearman(early[rows], late[rows]) for rows in parts])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    (correlation,) = _spearman(early[None], late[None])
    return found | {"correlation": float(correlation), "low": float(low), "high": float(high)}


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row; NaN where all of a row are alike."""
    # pandas ranks as scipy.stats does, whose import every report and the live page would pay for: a second, 50 MiB
    a, b = (pd.DataFrame(one).rank(axis=1).to_numpy() for one in (a, b))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def _sentence(row: pd.Series) -> str:
    head = f"Epoch {row['epoch']} against epoch {row['last']}"
    if not row["n"]:
        return f"{head}: no trial has a score at both, so whether one predicts the other is not answered yet."
    third = "is" if row["kept"] else "is not"
    return (
        f"{head}, over {row['n']} trials: Spearman's rank correlation {_interval(row)}; choosing the best trial of the"
        f" earlier epoch loses {number(row['regret'])} points at the end, and the best trial of the end {third} among"
        " the best third then."
    )


def _interval(row: pd.Series) -> str:
    if pd.isna(row["correlation"]):
        return f"unknown (fewer than {FEWEST} trials, or all alike)"
    return f"{number(row['correlation'], 2)} [{number(row['low'], 2)}, {number(row['high'], 2)}]"
