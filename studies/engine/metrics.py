"""The metrics that a study may be asked about: those which every run of a study has on record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache

from studies.engine.keys import lookup
from trainer import families
from trainer.config import SETS, RunConfig
from trainer.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A metric on record, ``@M`` standing for the run's number of views.

    Attributes:
        words: what it is, as sentences name it.
        unit: of its values; "" for a plain number.
        higher: whether more of it is better.
    """

    name: str
    words: str
    unit: str = ""
    higher: bool = True


LINACC = "linacc/z_agg@M"


def _own(family: str) -> list[Metric]:
    """What the runs of a family have on record beside what all have."""
    return [Metric(*one) for one in getattr(families.load(family), "METRICS", ())]


_ACTIONS = {f"r2_action.{scale}/z_pair@2": scale for scale in ("feature_std", "none", "views")}
_RANKS = [
    Metric(f"{kind}/{name}@M", f"{words} of {name}")
    for kind, words in (("rank_pr", "effective rank"), ("rank_sv", "rank of the singular values"), ("rankme", "RankMe"))
    for name in ("z", "z_agg")
]
# ACC: mean over the segments after the last one, as the field calls it; anytime: mean over the stream
_OF_STREAMS = [
    Metric(f"{what}.{kind}/{feature}", f"{words} of {of}", unit, higher)
    for what, feature, of, unit in (
        ("linacc", "z_agg@M", "linear accuracy", "percent"),
        ("knn20", "z_agg@M", "kNN accuracy", "percent"),
        ("r2_action.feature_std", "z_pair@2", "R2 of the actions", ""),
        ("rank_pr", "z@M", "effective rank of z", ""),
    )
    for kind, words, higher in (
        ("acc", "ACC", True),
        ("anytime", "anytime mean", True),
        ("bwt", "backward transfer", True),
        ("forgetting", "forgetting", False),
        ("fwt", "forward transfer", True),
        ("frozen_first_acc", "frozen-first ACC", True),
    )
]
# of a mixture's sets each is probed by itself
_OF_SETS = {
    Metric(f"{what}.{name}/z_agg@M", f"{words} of z_agg on {name}", "percent"): name
    for name in SETS
    for what, words in (("linacc", "linear accuracy"), ("knn20", "20-nearest-neighbour accuracy"))
}
_SET_OF = {one.name: of for one, of in _OF_SETS.items()}
NEEDS = {one.name: "data.stream.segments" for one in _OF_STREAMS}
"""Key of a setting that a run must have for a metric to be recorded; the others are of every run."""
_OF_RUNS = (
    Metric(LINACC, "linear accuracy of z_agg", "percent"),
    Metric("linacc/z_1@1", "linear accuracy of z_1", "percent"),
    Metric("linacc/z_agg@1", "linear accuracy of z_agg from one view", "percent"),
    Metric("linacc/z_mean@M", "linear accuracy of the mean z", "percent"),
    Metric("predict/z_hat@M", "prediction loss", higher=False),
    *(Metric(name, "R2 of the actions") for name in _ACTIONS),
    *_RANKS,
)
_USUAL = {one.name for one in (*_OF_RUNS, *_OF_STREAMS, *_OF_SETS)}
ACTIONS = Metric("r2_action", "R2 of the actions")
"""Shown as each run scales its actions; no contrast may be about it, as scalings do not compare."""


@cache
def known() -> dict[str, Metric]:
    """By name; those of families in folders of one's own among them."""
    own = (one for family in families.names() for one in _own(family))
    return {one.name: one for one in (*_OF_RUNS, *own, *_OF_STREAMS, *_OF_SETS)}


def beside(name: str) -> Metric:
    """A metric to show beside a study's own. Raises UsageError for one that no study records."""
    return ACTIONS if name == ACTIONS.name else metric(name)


def metric(name: str) -> Metric:
    """The metric of that name. Raises UsageError for one that no study records."""
    if (found := known().get(name)) is not None:
        return found
    near = next((one for one in known() if one.startswith(name)), None) or get_close_matches(name, known(), 1, 0.0)[0]
    usual = ", ".join(one for one in known() if one not in NEEDS and one not in _SET_OF)
    raise UsageError(
        f"metric {name!r}: no study records it (did you mean {near}?); it must be one of {usual}, or of a stream's or a"
        " mixture's"
    )


def check_recorded(names: Iterable[str], config: RunConfig) -> None:
    """Refuse a run that will not have the metrics of a study on record.

    Args:
        names: of the metrics that the study and its contrasts are about.

    Raises:
        UsageError: its family is judged by another score or does not record them, or its actions are scaled otherwise.
    """
    headline, m = families.headline(config), f"@{config.data.observed_views}"
    score = headline["score"]
    if score != LINACC.replace("@M", m):
        raise UsageError(
            f"family = {config.family!r}: is judged by {score}, but a study ranks and compares runs by {LINACC}; "
            "train it with python -m trainer"
        )
    scale = config.data.action_scale
    patterns = getattr(families.load(config.family), "USUAL", ())
    recorded = {one.name for one in _own(config.family)} | {
        one for one in _USUAL if any(fnmatchcase(one, pattern) for pattern in patterns)
    }
    tree = config.model_dump()
    mixed = {one.name for one in config.data.mixture or ()}
    for name in names:
        if (of := _SET_OF.get(name)) is not None and of not in mixed:
            there = f"mixes {', '.join(sorted(mixed))}" if mixed else "mixes no sets (data.mixture)"
            raise UsageError(f"metric {name!r}: is recorded of a mixture with {of}, and this study {there}")
        named = name in headline or name.replace("@M", m) in headline.values()
        if not (named or name in recorded):
            raise UsageError(f"metric {name!r}: runs of family {config.family} do not record it")
        needs = NEEDS.get(name)
        if needs and lookup(tree, needs) is None:
            raise UsageError(f"metric {name!r}: is recorded of runs with {needs} only; set it, or name another metric")
        if _ACTIONS.get(name, scale) != scale:
            raise UsageError(
                f"metric {name!r}: runs with data.action_scale = {scale!r} record r2_action.{scale}/z_pair@2; name"
                f" that, or override data.action_scale={_ACTIONS[name]}"
            )
