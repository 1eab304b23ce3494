"""Configuration keys as arms and spaces give them: dotted, nested, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

JOINED = " + "


def lookup(keys: dict[str, Any], dotted: str) -> Any:
    """The value that ``{"a.b": {"c": 1}}`` gives ``a.b.c``; None if it gives none; of several keys see
    :func:`joined`."""
    return joined(dotted, lambda one: _lookup(keys, one))


def joined(key: str, value: Callable[[str], Any]) -> Any:
    """A setting's value: that of its key, and of several keys, ``a + b``, their values in words; None where one has
    none."""
    if JOINED not in key:
        return value(key)
    found = [value(one) for one in key.split(JOINED)]
    return None if None in found else " ".join(map(str, found))


def _lookup(keys: dict[str, Any], dotted: str) -> Any:
    if dotted in keys:
        return keys[dotted]
    for key, value in keys.items():
        if dotted.startswith(f"{key}.") and isinstance(value, dict):
            return _lookup(value, dotted.removeprefix(f"{key}."))
    return None
