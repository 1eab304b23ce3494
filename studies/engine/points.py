"""The points and grid values that an author names by hand must be points of the space.

Optuna would refuse them, or ignore them, in the middle of a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.engine.spaces import Parameter, Space, variants
from trainer.errors import UsageError


def check(space: Space | None, first: list[dict[str, Any]], grid: Mapping[str, tuple[Any, ...]]) -> None:
    """Compare every value with its parameter, on whichever branch.

    Raises:
        UsageError: a name that the space does not suggest, or a value it could not suggest.
    """
    known = variants(space) if space is not None else {}
    for point in first:
        for name, value in point.items():
            _value(f"first_points {point}", known, name, value)
    for name, values in grid.items():
        if not values or any(values.count(value) > 1 for value in values):
            raise UsageError(f"grid {name!r}: has {tuple(values)!r}; give at least one value, and each once")
        for value in values:
            _value("grid", known, name, value)
        if any(one.choices is not None for one in known[name]):
            raise UsageError(f"grid {name!r}: is a choice, of which a grid takes every option; leave it out")


def _value(who: str, known: dict[str, list[Parameter]], name: str, value: Any) -> None:
    if name not in known:
        raise UsageError(f"{who}: {name!r} is no parameter of the space; it has {', '.join(known) or 'none'}")
    if not any(one.holds(value) for one in known[name]):
        raise UsageError(f"{who}: {name} = {value!r} is not in {known[name][0].text}")
