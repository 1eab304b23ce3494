"""The fields of a declaration are what they should be: a slip is one line before any of them is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from studies.engine import parts
from studies.engine.contrasts import Contrast
from studies.engine.guard import call
from studies.engine.parts import line, plain, shorten
from studies.engine.question import Control, Question, Reference, Show, Strata
from studies.engine.settings import Arm
from studies.engine.stopping import RULES, own
from trainer.errors import UsageError

Rule = tuple[str, Callable[[Any], bool]]


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _each(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple | list) and all(isinstance(one, kind) for one in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


MAPPING: Rule = ("a mapping, as {'name': ...}", _is(Mapping))
FIELDS: dict[str, Rule] = {
    "name": ("a word", lambda value: isinstance(value, str) and bool(value)),
    "question": ("a text on one line", line),
    "space": ("a function of a trial", callable),
    "strata": (
        "Strata(name, levels)",
        lambda value: isinstance(value, Strata) and isinstance(value.name, str) and _each(object)(value.levels),
    ),
    "reference": (
        "Reference(settings), as Reference({'optim.clip_norm': None})",
        lambda value: isinstance(value, Reference) and isinstance(value.settings, dict),
    ),
    "controls": ("a tuple of Control", _each(Control)),
    "trials": (
        "a whole number from 1 on",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
    ),
    "eligible": ("a function of a point's settings", callable),
    "settings": (
        "a mapping of names to configuration keys",
        lambda value: isinstance(value, Mapping) and all(line(one) and one for pair in value.items() for one in pair),
    ),
    "shown": (
        "a mapping of settings, as {'lr': Show()}",
        lambda value: isinstance(value, Mapping) and all(map(_is(Show), value.values())),
    ),
    "units": MAPPING,
    "label": ("a function of a point's settings and the run's steps", callable),
    "arms": ("a function of whether the study is quick that returns arms, as lambda quick: (Arm(...),)", callable),
    "contrasts": ("a function of the fixed arms that returns contrasts, as lambda arms: (Contrast(...),)", callable),
    "first_points": ("a function without arguments that returns points, as lambda: [{'lr': 0.001}]", callable),
    "grid": (
        "a mapping of parameters to their values",
        lambda value: isinstance(value, Mapping) and all(map(_each(object), value.values())),
    ),
    "metric": ("the name of a metric", _is(str)),
    "also": ("a tuple of names of metrics, as ('r2_action',)", _each(str)),
    "predicts": (
        "shares of a run between 0 and 1, as (1 / 3,)",
        lambda value: _each(object)(value) and all(_number(one) and 0 < one < 1 for one in value),
    ),
    "overrides": ("a tuple of texts, as ('optim.lr=0.001',)", _each(str)),
    "defaults": MAPPING,
    "quick": MAPPING,
}
"""What each field must be."""
OPTIONAL = frozenset({"space", "strata", "reference", "settings", "shown", "label"})
"""Fields that may be None."""


def check(question: Question, quick: bool) -> None:
    """Look at every field, then ask each function once.

    Args:
        quick: whether the study is.

    Raises:
        UsageError: a field of the wrong kind, or a function of the author that fails or returns something else.
    """
    for name in getattr(question, "unknown", ()):
        known = Question.__dataclass_fields__
        near = get_close_matches(name, known, 1, 0.0)[0]
        raise UsageError(f"{name}: is no field of a study (did you mean {near}?); it has {', '.join(known)}")
    for name, (rule, fits) in FIELDS.items():
        value = getattr(question, name)
        if not (value is None and name in OPTIONAL) and not fits(value):
            raise UsageError(f"{name} {shorten(value)}: must be {rule}")
    own.check(question.rules, RULES)
    if question.predicts and question.space is None:
        raise UsageError(
            f"predicts {question.predicts!r}: is about the trials of a search, and this study has no space; leave"
            " it out"
        )
    for either in {False, quick}:
        _returns("arms", Arm, call("arms", question.arms, either))
        if tuple(question.arms(either)) != tuple(question.arms(either)):
            raise UsageError("arms: are others when asked for again; they must follow from the declaration alone")
        for arm in question.fixed_arms(either):
            parts.check(f"arm {shorten(arm.key)}", arm)
    _returns("contrasts", Contrast, call("contrasts", question.contrasts, question.fixed_arms(quick)))
    for one in question.contrasts(question.fixed_arms(quick)):
        parts.check(f"contrast {shorten(one.question)}", one)
    for name, shown in (question.shown or {}).items():
        parts.check(f"shown {name!r}", shown)
    _returns("first_points", dict, call("first_points", question.first_points))
    if question.walked and not question.ranges:
        raise UsageError("the search space asks its trial for nothing, so that all trials are one; give it a range")
    for raw, keys in question.walked:
        _point(question, raw, keys)
    if question.strata is not None:
        parts.check("strata", question.strata)
    if question.reference is not None:
        parts.check("reference", question.reference)
        if question.reference.label is not None:
            _says("the reference's label", call("the reference's label", question.reference.label, "an arm"))


def _point(question: Question, raw: dict[str, Any], keys: dict[str, Any]) -> None:
    """What the functions of a study make of a corner of its space."""
    for key, value in keys.items():
        if not plain(value):
            raise UsageError(
                f"the search space: {key} = {shorten(value)} is a {type(value).__name__}; give a plain number, text,"
                " list or None"
            )
    if (again := question.point(raw)) != keys:
        raise UsageError(
            f"the search space gives {shorten(keys)} and then {shorten(again)} at the same point {raw}; it must follow"
            " from its trial alone"
        )
    params = question.params(keys)
    call(f"eligible at {params}", question.eligible, params)
    _says(f"label at {params}", call(f"label at {params}", question.describe, params, 1000))


def _says(what: str, label: Any) -> None:
    if not line(label):
        raise UsageError(f"{what}: returns {shorten(label)}; it must return a text on one line")


def _returns(what: str, kind: type, found: Any) -> None:
    rule = f"it must return a tuple of {kind.__name__}"
    if not isinstance(found, Iterable) or isinstance(found, str | Mapping):
        raise UsageError(f"{what}: returns {shorten(found)}; {rule}")
    for one in call(what, tuple, found):
        if not isinstance(one, kind):
            raise UsageError(f"{what}: returns {shorten(one)} among others; {rule}")
