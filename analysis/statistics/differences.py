"""Which compared arm is set against which, on what, and what came out, over paired seeds."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import pandas as pd

from analysis.recorded.arms import Key
from analysis.recorded.declared import Contrast
from analysis.recorded.study import Study
from analysis.statistics.family import BETTER, DIVERGED, EXPLORATORY, NOT_RESOLVED, PENDING, WORSE, decide
from analysis.statistics.paired import Difference, paired, seeds_needed

SAME_ARM = "same arm"
REFERENCE = "reference"
NOT_COMPARED = "not compared"
RANKS = ("rank_pr/z@M", "rank_pr/z_agg@M")

Comparison = tuple[str, Key, Key]
"""(metric, arm, reference)."""

_NAN = float("nan")
_COLUMNS = [
    "metric", "arm", "role", "arm_id", "reference", "reference_role", "reference_arm_id", "question",
    "mean", "low", "high", "sd", "n", "dropped", "p", "primary", "p_holm", "level", "adjusted_low", "adjusted_high",
    "verdict",
    "resolvable", "resolvable_with_power", "seeds_needed", "effect", "improvement",
]  # fmt: skip


_MADE: WeakKeyDictionary[Study, tuple[pd.DataFrame, pd.DataFrame]] = WeakKeyDictionary()


def differences(study: Study, ended: bool = False) -> pd.DataFrame:
    """One row per comparison: arm minus reference, on seeds that both have; the declared contrasts first.

    ``low`` and ``high`` are the 95 % interval of the one comparison. A primary contrast also has what its family
    decides: ``p_holm``, the interval at its adjusted ``level`` and the verdict (see ``family.Decision``). All others
    are exploratory: every arm meets its reference (and its peer, if it has one) in the study's metric, which for a
    candidate is the best arm of its level; a best arm also meets its reference in the effective ranks, and the best arm
    of every level that of the first. ``effect`` is the mean in s.d. of the paired differences, ``improvement`` the
    share of seeds in which the arm is the better one. The frame is made once per study; do not change it.

    Args:
        ended: the caller knows that no planned run is still to end. Otherwise a primary contrast of which a run may
            still end has the verdict ``PENDING``, wherever it is shown.
    """
    if study not in _MADE:
        found = _differences(study)
        _MADE[study] = found, found.assign(verdict=found["verdict"].mask(_early(study, found), PENDING))
    return _MADE[study][0 if ended else 1]


def _early(study: Study, found: pd.DataFrame) -> pd.Series:
    """Which primary contrasts would have a word before their planned runs have ended."""
    early = found["primary"] & found["verdict"].isin((BETTER, WORSE, NOT_RESOLVED, DIVERGED))
    for place, line in found[early].iterrows():
        sides = [(line[f"{side}arm_id"], line[f"{side}role"]) for side in ("", "reference_")]
        early[place] = any(map(study.arms.open_runs, sides))
    return early


def _differences(study: Study) -> pd.DataFrame:
    primary = {comparison: one for one in study.declared.contrasts if (comparison := resolve(study, one)) is not None}
    plan = dict.fromkeys([*primary, *_exploratory(study)])
    found = {comparison: compare_arms(study, *comparison) for comparison in plan}
    # a contrast that could not be run counts like the others: what was declared does not shrink afterwards
    absent = len(study.declared.contrasts) - len(primary)
    family = [None if same_arm(study, *c[1:]) else found[c] for c in primary] + [None] * absent
    decisions = dict(zip(primary, decide(family, len(study.looks)), strict=False))
    rows = []
    for (metric, key, reference), one in found.items():
        low, high = one.interval()
        row = {
            "metric": metric.removesuffix("@M"), "arm": study.arms.names[key], "role": key[1], "arm_id": key[0],
            "reference": study.arms.names[reference], "reference_role": reference[1], "reference_arm_id": reference[0],
            "mean": one.mean, "low": low, "high": high, "sd": one.sd, "n": one.n, "dropped": one.dropped, "p": one.p,
            "effect": one.effect, "improvement": one.above if _higher(study, metric) else 1 - one.above,
        }  # fmt: skip
        decision = decisions.get((metric, key, reference))
        row |= {
            "primary": decision is not None,
            "question": primary[metric, key, reference].question if decision else None,
        }
        if same_arm(study, key, reference):
            # one arm in two roles (the reference won the search): a difference of exactly 0 says nothing
            row |= {"verdict": SAME_ARM, "p": _NAN, "effect": _NAN, "improvement": _NAN}
        elif decision is None:
            row |= {"verdict": EXPLORATORY, "seeds_needed": seeds_needed(one.mean, one.spread)}
        else:
            word = _word(decision.verdict, primary[metric, key, reference].higher)
            ahead = {BETTER: key, WORSE: reference}.get(word)
            row |= {
                "verdict": DIVERGED if ahead and study.arms.diverged(ahead) else word,
                "p_holm": decision.p_holm,
                "level": decision.level,
            }
            row |= {"adjusted_low": decision.low, "adjusted_high": decision.high, "seeds_needed": decision.seeds_needed}
            row |= {"resolvable": decision.resolvable, "resolvable_with_power": decision.with_power}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    numbers = ("p_holm", "level", "adjusted_low", "adjusted_high", "resolvable", "resolvable_with_power")
    numbers += ("effect", "improvement")
    return frame.astype({"seeds_needed": "Int64", "primary": bool} | dict.fromkeys(numbers, "float64"))


def _higher(study: Study, metric: str) -> bool:
    """Whether more of a metric is better, as the study declares it; of a metric it does not name, yes."""
    declared = {one.metric: one.higher for one in study.declared.contrasts}
    return declared.get(metric, study.declared.metric.higher or metric != study.declared.metric.name)


def _word(verdict: str, higher: bool) -> str:
    """The verdict of a metric of which less may be better."""
    return verdict if higher else {BETTER: WORSE, WORSE: BETTER}.get(verdict, verdict)


def compare_arms(study: Study, metric: str, key: Key, reference: Key) -> Difference:
    """Paired difference of a metric between two arms; runs that did not end are missing values."""
    return paired(_by_seed(study, metric, key), _by_seed(study, metric, reference), study.step(metric))


def resolve(study: Study, contrast: Contrast) -> Comparison | None:
    """A declared contrast between arms on record; None where one of them was not compared."""
    key = study.arms.keys.get(contrast.arm)
    reference = study.arms.keys.get(contrast.reference)
    if key is None or reference is None:
        return None
    if contrast.reference == f"{contrast.arm}/{study.declared.reference}":  # its own; an earlier choice left another
        reference = study.arms.reference(key) or reference
    return contrast.metric, key, reference


def _exploratory(study: Study) -> list[Comparison]:
    found: list[Comparison] = []
    metric = study.declared.metric.name
    for key in study.arms.ordered:
        reference, peer = study.arms.reference(key), study.arms.reference(key, "peer")
        found += [(metric, key, other) for other in (reference, peer) if other is not None]
        if key[1] == "best":
            base = (
                reference
                if reference and study.declared.kind(reference[1]) == "reference"
                else study.arms.find("reference", study.arms.level(key))
            )
            if base is not None:
                found += [(name, key, base) for name in (metric, *RANKS)]
    best = [key for level in study.declared.levels if (key := study.arms.find("best", level)) is not None]
    return [*found, *((metric, key, best[0]) for key in best[1:])]


def same_arm(study: Study, key: Key, reference: Key) -> bool:
    """Whether both are the same runs, as where the search chose the reference itself."""
    runs = study.arms.runs
    return set(runs[key].values()) == set(runs[reference].values()) and "untrained" not in (key[1], reference[1])


def _by_seed(study: Study, metric: str, key: Key) -> dict[int, float]:
    return dict(zip(study.arms.runs[key], study.measured(metric, key).tolist(), strict=True))
