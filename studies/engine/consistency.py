"""Whether a declaration agrees with itself, before anything is built or started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from studies.engine import points, spaces
from studies.engine.keys import lookup
from studies.engine.metrics import beside, metric
from studies.engine.settings import Arm
from trainer.errors import UsageError
from trainer.record.dotted import dotted

if TYPE_CHECKING:
    from studies.engine.question import Question, Reference

RESERVED = frozenset(
    "event schema_version t at session name trial run_id arm_id bracket params raw source label state epoch value"
    " objectives reason rung cutoff peers stop rank floor kind counted again trials values epochs role reference peer"
    " runs seeds search_value place from rungs key seed study arm n views complete problem gate_passed collapsed"
    " probe_epoch commit dirty verdict own front stop_reason usd level setting gate_judged collapsed_judged run_ids"
    " commits device_seconds reference_arm_id parameters parameter_parts".split()
)
"""Fields of the record and columns of the tables, which no setting may be called."""
_MEASURED = re.compile(r"difference_.*|(linacc|rank|predict_|r2_action|agg_minus_mean).*_(mean|half|n|epoch)")
"""Columns that tables make of metrics."""
SEARCHED = re.compile(r"(best|candidate\d*)(/.*)?", re.DOTALL)
"""Keys of the arms that a search chooses."""
MUST = ("collapse", "start")
GIVEN = ("best", "candidate", "untrained")
"""Roles that no arm of an author's own has: they follow from the search, or from a control."""


def check(question: Question, arms: tuple[Arm, ...]) -> None:
    """Refuse what no study could be made of.

    Args:
        arms: those known before a search.

    Raises:
        UsageError: the declaration contradicts itself; with what, and the rule.
    """
    if not question.question.strip().endswith(("?", "？", "؟")):  # noqa: RUF001
        raise UsageError(f"question {question.question!r}: must be a question, with a question mark at its end")
    if question.space is None and not question.arms(False):
        raise UsageError(f"study {question.name}: has neither a search space nor arms; give it space= or arms=")
    _names(question)
    _strata(question)
    _settings(question)
    points.check(question.space, question.first_points(), question.grid)
    _arms(question, arms)
    _controls(question, arms)
    metric(question.metric)
    for name in question.also:
        if beside(name).name == question.metric:
            raise UsageError(f"also {name!r}: is the study's metric already; leave it out")
    if question.reference is not None:
        _reference(question, question.reference)


def _names(question: Question) -> None:
    """Names of settings are free in the record, and what is said of a setting or a parameter is said of one there."""
    for name in question.columns:
        if (
            name in RESERVED
            or "/" in name
            or name.startswith(("seconds.", "core_seconds.", "objective."))
            or _MEASURED.fullmatch(name)
        ):
            raise UsageError(f"setting {name!r}: this name means something else in the record; choose another")
    if unknown := next((name for name in question.shown or {} if name not in question.columns), None):
        raise UsageError(f"shown {unknown!r}: is no setting of the study; it has {', '.join(question.columns)}")
    if unknown := next((name for name in question.units if name not in question.ranges), None):
        raise UsageError(
            f"units {unknown!r}: is no parameter of the space; it has {', '.join(question.ranges) or 'none'}"
        )


def _arms(question: Question, arms: tuple[Arm, ...]) -> None:
    """Each arm has a key and a label of its own, and is compared with another one that there is."""
    keys = [arm.key for arm in arms]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"arm {twice!r}: is declared twice; each arm needs a key of its own")
    labels: dict[str, str] = {}
    for arm in arms:
        if (other := labels.setdefault(arm.label, arm.key)) != arm.key:
            raise UsageError(
                f"arm {arm.key!r}: is labelled {arm.label!r} as {other!r} is; each needs a label of its own"
            )
        if question.space is not None and SEARCHED.fullmatch(arm.key):
            raise UsageError(f"arm {arm.key!r}: best and candidate are the keys of searched arms; choose another key")
        for named in (arm.reference, arm.peer):
            if named is not None and named not in keys:
                raise UsageError(
                    f"arm {arm.key!r}: its reference {named!r} is no arm of the study; it has {', '.join(keys)}"
                )
            if named is not None and named == arm.key:
                raise UsageError(f"arm {arm.key!r}: is its own reference; give it one that differs")
    for arm in question.arms(False):
        if arm.role in GIVEN:
            raise UsageError(
                f"arm {arm.key!r}: role {arm.role!r} is given by the search or a control; call it 'grid', or as its"
                " reference is to be called"
            )


def _controls(question: Question, arms: tuple[Arm, ...]) -> None:
    """What a control must do can be checked."""
    for control in question.controls:
        if control.must not in MUST:
            raise UsageError(
                f"control {control.key!r}: must = {control.must!r} cannot be checked; it must be one of"
                f" {', '.join(MUST)}"
            )
        if control.must == "start" and not any(
            arm.role != "untrained" and arm.overrides == control.overrides for arm in arms
        ):
            raise UsageError(
                f"control {control.key!r}: is epoch 0 of the arm with its settings, and no arm has them; add one"
            )


def _reference(question: Question, reference: Reference) -> None:
    """The reference of searched arms has a role of its own, and a search has arms that may be compared with it."""
    role, other = reference.role, {*GIVEN, "control", "grid", *(one.key for one in question.controls)}
    if not role or "/" in role or role in other:
        raise UsageError(
            f"reference: role {role!r} must be a word without a slash, and none of {', '.join(sorted(other))}"
        )
    if question.space is None:
        raise UsageError(
            "reference: is of searched arms, and this study searches none; give each arm a reference of its own"
        )
    if not question.eligible_corners:
        raise UsageError("eligible: accepts no corner of the space, so that no arm could be confirmed; correct it")


def _settings(question: Question) -> None:
    """Each setting is the value of a key that some arm or point of the space sets."""
    given = [*question.points_of_arms(True), *(arm.overrides for arm in question.arms(True))]
    given += [question.reference.settings] if question.reference else []
    for name, key in question.columns.items():
        if all(lookup(keys, key) is None for keys in given):
            known = dict.fromkeys(key for keys in given for key in dotted(keys))
            raise UsageError(
                f"settings {name!r}: no arm and no point of the space sets {key!r}; they set"
                f" {', '.join(known) or 'nothing'}"
            )


def _strata(question: Question) -> None:
    if question.strata is None:
        return
    name, levels = question.strata.name, question.strata.levels
    if not levels:
        raise UsageError(f"strata {name!r}: has no levels; name them")
    if name not in question.columns:
        raise UsageError(
            f"strata {name!r}: is no setting on record; name its configuration key in settings={{{name!r}: ...}}"
        )
    if question.space is None:
        offered: Any = dict.fromkeys(question.params(arm.overrides).get(name) for arm in question.arms(False))
    else:
        offered = spaces.choices(question.space).get(name)
    if offered is None:
        raise UsageError(f"strata {name!r}: the space does not choose it; use trial.suggest_categorical({name!r}, ...)")
    key = question.columns[name]
    for raw, keys in question.walked:
        if (found := question.params(keys).get(name)) is None:
            raise UsageError(f"strata {name!r}: the space sets no {key} in {keys}; every point needs its level")
        if found != raw[name]:  # the record knows a level by its setting
            raise UsageError(
                f"strata {name!r}: at {raw[name]!r} the space sets {key} = {found!r}; a level is called as what it sets"
            )
    if twice := next((level for level in levels if levels.count(level) > 1), None):
        raise UsageError(f"strata {name!r}: level {twice!r} is named twice; remove one")
    for level in levels:
        if level not in offered:
            raise UsageError(
                f"strata {name!r}: level {level!r} is empty, there is only {', '.join(map(str, offered))}; remove it"
            )
        if not isinstance(level, str) or not level or "/" in level:
            raise UsageError(f"strata {name!r}: level {level!r} must be a word without a slash")
    if left := next((one for one in offered if one not in levels), None):
        raise UsageError(f"strata {name!r}: there is also {left!r}, which is no level; add it, or take it out")
