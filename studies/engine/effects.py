"""Refuses what a study declares but what changes nothing: it would be compared with itself, or searched in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from studies.engine import spaces
from studies.engine.plan import Plan
from studies.engine.question import Question
from trainer.errors import UsageError
from trainer.record.identity import SCIENTIFIC

ONE_ARM = "is the same arm: after the preset both have the same settings (arm {}); give it one that differs"


def check(plan: Plan, question: Question) -> None:
    """Compare arms by what they are, after preset and overrides.

    Every configuration must have been built by :meth:`Plan.check`.

    Raises:
        UsageError: a setting that no arm differs by, an arm that is its own reference, or a parameter without effect.
    """
    for arm in plan.arms:
        _scientific(f"arm {arm.key!r}", arm.overrides)
    for keys in question.corners:
        _scientific("the search space", keys)
    if question.reference is not None:
        _scientific("reference", question.reference.settings)
    _pairs(plan)
    _searched_reference(plan, question)
    _parameters(plan, question)


def _scientific(who: str, keys: Iterable[str]) -> None:
    for key in keys:
        if key.partition(".")[0] not in SCIENTIFIC:
            raise UsageError(
                f"{who}: sets {key}, by which no arm differs; it must be a setting of {', '.join(SCIENTIFIC)}"
            )


def _pairs(plan: Plan) -> None:
    """Fixed arms and what they are compared with; an untrained row is epoch 0 of an arm and has its settings."""
    arms = {arm.key: arm for arm in plan.arms if arm.role != "untrained"}
    for arm in arms.values():
        for named in (arm.reference, arm.peer):
            if named in arms and plan.arm_id(arm) == (same := plan.arm_id(arms[named])):
                raise UsageError(f"arm {arm.key!r}: its reference {named!r} {ONE_ARM.format(same)}")
    for one in plan.declared.contrasts:
        if (
            one.arm in arms
            and one.reference in arms
            and plan.arm_id(arms[one.arm]) == (same := plan.arm_id(arms[one.reference]))
        ):
            raise UsageError(
                f"contrast {one.question!r}: {one.arm!r} and {one.reference!r}: {one.reference!r}"
                f" {ONE_ARM.format(same)}"
            )


def _searched_reference(plan: Plan, question: Question) -> None:
    pairs = zip(question.eligible_corners, question.references, strict=False)
    if question.references and all(plan.id_of(keys) == plan.id_of(changed) for keys, changed in pairs):
        raise UsageError(
            f"reference {question.reference.settings}: is the same as the arm, which has these values too, from the"
            " space or the preset; give it others"
        )


def _parameters(plan: Plan, question: Question) -> None:
    """Every parameter must change the arm somewhere, else the sampler learns from noise."""
    if question.space is None:
        return
    for name, words in question.ranges.items():
        groups: dict[str, list[dict[str, Any]]] = {}
        for others in ("low", "high"):
            for walker, keys in spaces.branches(question.space, _both_ends_of(name, others), 2 * spaces.MOST_BRANCHES):
                if (parameter := walker.parameters.get(name)) is not None and parameter.varies:
                    rest = {other: value for other, value in walker.raw.items() if other != name}
                    groups.setdefault(repr((others, rest)), []).append(keys)
        # values that lead to different parameters stand alone in their groups: they have an effect
        if groups and not any(len(points) == 1 or _differ(plan, points) for points in groups.values()):
            raise UsageError(f"the search space: {name} ({words}) changes no setting of an arm; use it or take it out")


def _both_ends_of(name: str, others: str) -> Callable[[str, spaces.Parameter], tuple[Any, ...]]:
    def options(asked: str, parameter: spaces.Parameter) -> tuple[Any, ...]:
        if parameter.choices is not None:
            return parameter.choices
        return (parameter.low, parameter.high) if asked == name else (getattr(parameter, others),)

    return options


def _differ(plan: Plan, points: list[dict[str, Any]]) -> bool:
    return any(keys != points[0] and plan.id_of(keys) != plan.id_of(points[0]) for keys in points[1:])
