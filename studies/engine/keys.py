"""Configuration keys as arms and spaces give them: dotted, nested, or both."""

from __future__ import annotations

from typing import Any


def lookup(keys: dict[str, Any], dotted: str) -> Any:
    """The value that ``{"a.b": {"c": 1}}`` gives ``a.b.c``; None if it gives none."""
    if dotted in keys:
        return keys[dotted]
    for key, value in keys.items():
        if dotted.startswith(f"{key}.") and isinstance(value, dict):
            return lookup(value, dotted.removeprefix(f"{key}."))
    return None


def leaves(keys: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in keys.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found
