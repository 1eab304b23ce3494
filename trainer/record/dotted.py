"""Nested settings by their dotted names, as a command line gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dotted(tree: Mapping[str, Any], prefix: str = "", empty: bool = False) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; lists are values.

    Args:
        empty: a branch without settings is a value as well, and is left out otherwise.
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and (value or not empty):
            found |= dotted(value, f"{prefix}{name}.", empty)
        else:
            found[f"{prefix}{name}"] = value
    return found
