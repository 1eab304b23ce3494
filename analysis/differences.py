"""Which compared arm is set against which, on what, and what came out, over paired seeds."""

from __future__ import annotations

import pandas as pd

from analysis.compare import Difference, holm, paired
from analysis.study import Study, values

ROLES = ("best", "lambda0", "shared", "untrained", "candidate", "grid")
TEACHERS = ("stopgrad", "ema", "shared")
SAME_ARM = "same arm"
REFERENCE = "reference"
NOT_COMPARED = "not compared"
LINACC = "linacc/z_agg@M"
RANKS = ("rank_pr/z@M", "rank_pr/z_agg@M")

Key = tuple[str, str]
"""(arm_id, role). The role belongs to it because an untrained encoder has the id of its trained arm."""

_COLUMNS = [
    "metric", "arm", "role", "arm_id", "reference", "reference_role", "reference_arm_id",
    "mean", "low", "high", "sd", "n", "dropped", "p", "p_holm", "verdict", "seeds_needed",
]  # fmt: skip


def arms(study: Study) -> list[Key]:
    """The compared arms in the order of the tables: by role, teacher, place in the search, lambda."""
    first = study.finals.drop_duplicates(["arm_id", "role"])
    rank = pd.DataFrame(
        {
            "role": [_place(role, ROLES) for role in first["role"]],
            "teacher": [_place(teacher, TEACHERS) for teacher in first["teacher"]],
            "place": first["place"],
            "search": -first["search_value"].where(first["role"] == "best"),
            "lambda": first["lambda_rate"],
        },
        index=first.index,
    ).sort_values(["role", "teacher", "place", "search", "lambda"], kind="stable")
    return [(first.at[index, "arm_id"], first.at[index, "role"]) for index in rank.index]


def rows_of(study: Study, key: Key) -> pd.DataFrame:
    """The rows of ``study.finals`` of one arm."""
    return study.finals[(study.finals["arm_id"] == key[0]) & (study.finals["role"] == key[1])]


def find(study: Study, role: str, teacher: str | None = None) -> Key | None:
    """The first arm with a role (and teacher) in the order of ``arms``; of several best ones, the best searched."""
    for key in arms(study):
        if key[1] == role and (teacher is None or rows_of(study, key)["teacher"].iloc[0] == teacher):
            return key
    return None


def names(study: Study) -> dict[Key, str]:
    """A short unique name per arm: teacher, lambda and what it is; its full label can be a line long."""
    found: dict[Key, str] = {}
    in_grid = any(role == "grid" for _, role in arms(study))
    for key in arms(study):
        row = rows_of(study, key).iloc[0]
        if in_grid and key[1] in ("grid", "lambda0"):
            found[key] = row["label"]  # short, and names the schedule too
            continue
        name = "untrained" if key[1] == "untrained" else f"{row['teacher'] or key[1]} λ={row['lambda_rate']:.3g}"
        name += {"best": " (best)", "candidate": f" ({_ordinal(row['place'])})"}.get(key[1], "")
        same = sum(other == name or other.startswith(f"{name} #") for other in found.values())
        found[key] = f"{name} #{same + 1}" if same else name
    return found


def reference_of(study: Study, key: Key, field: str = "reference") -> Key | None:
    """The arm that ``key`` names as its reference (or ``peer``), if it was compared too.

    An id may belong to a trained arm and to its untrained encoder; the trained one is meant, unless
    that is the arm itself.
    """
    reference = rows_of(study, key)[field].iloc[0]
    candidates = [other for other in arms(study) if other[0] == reference and other != key]
    for role in ("lambda0", "best", "shared", "grid", "untrained"):
        for other in candidates:
            if other[1] == role:
                return other
    return None


def differences(study: Study) -> pd.DataFrame:
    """One row per comparison: arm minus reference, on seeds that both have.

    Every arm meets its reference in linear accuracy, which for a candidate is the best arm of its teacher; a best
    arm also meets lambda 0 in the effective ranks, and the best EMA teacher meets the best stop-gradient. In a grid every EMA arm meets its peer, the
    stop-gradient arm that is the same in everything else. ``p_holm`` is adjusted over all rows but the candidates', which are a family of their
    own: how many candidates are confirmed must not change the answer to the study's question.
    """
    plan: dict[tuple[str, Key, Key], None] = {}
    for key in arms(study):
        reference = reference_of(study, key)
        if reference is not None:
            plan[LINACC, key, reference] = None
        if key[1] == "best":
            teacher = rows_of(study, key)["teacher"].iloc[0]
            base = reference if reference and reference[1] == "lambda0" else find(study, "lambda0", teacher)
            if base is not None:
                plan |= {(metric, key, base): None for metric in (LINACC, *RANKS)}
        peer = reference_of(study, key, "peer")
        if peer is not None:
            plan[LINACC, key, peer] = None
    ema, stopgrad = find(study, "best", "ema"), find(study, "best", "stopgrad")
    if ema is not None and stopgrad is not None:
        plan[LINACC, ema, stopgrad] = None
    rows = [_row(study, *comparison) for comparison in plan]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["p_holm"] = float("nan")
    for family in (frame["role"] == "candidate", frame["role"] != "candidate"):
        frame.loc[family, "p_holm"] = holm(frame.loc[family, "p"].tolist())
    return frame.astype({"seeds_needed": "Int64"})


def compare_arms(study: Study, metric: str, key: Key, reference: Key) -> Difference:
    """Paired difference of a metric between two arms; runs that did not end are missing values."""
    return paired(_by_seed(study, metric, key), _by_seed(study, metric, reference))


def _row(study: Study, metric: str, key: Key, reference: Key) -> dict[str, object]:
    found = compare_arms(study, metric, key, reference)
    same_runs = set(rows_of(study, key)["run_id"]) == set(rows_of(study, reference)["run_id"])
    if same_runs and "untrained" not in (key[1], reference[1]):
        # one arm in two roles (lambda 0 won the search): a difference of exactly 0 says nothing
        verdict, p, needed = SAME_ARM, float("nan"), None
    else:
        words = ("better", "worse") if metric == LINACC else ("higher", "lower")
        verdict, p, needed = found.verdict(*words), found.p, found.seeds_needed
    return {
        "metric": metric.removesuffix("@M"),
        "arm": names(study)[key], "role": key[1], "arm_id": key[0],
        "reference": names(study)[reference], "reference_role": reference[1], "reference_arm_id": reference[0],
        "mean": found.mean, "low": found.low, "high": found.high, "sd": found.sd, "n": found.n, "dropped": found.dropped,
        "p": p, "verdict": verdict, "seeds_needed": needed,
    }  # fmt: skip


def _by_seed(study: Study, metric: str, key: Key) -> dict[int, float]:
    rows = rows_of(study, key)
    return dict(zip(rows["seed"].astype(int), values(rows, metric), strict=True))


def _ordinal(place: int | None) -> str:
    """``2nd``, ``3rd``, ``11th``; records without the place say what the arm is."""
    if pd.isna(place):
        return "candidate"
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _place(word: str | None, order: tuple[str, ...]) -> int:
    return order.index(word) if word in order else len(order)
