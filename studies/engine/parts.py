"""The parts of a declaration hold what their annotations say: texts of one line, plain settings.

What slips through here would fail where it is first used: a label when a table is drawn, hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any
from unicodedata import category

from trainer.errors import UsageError

LONGEST = 60
"""Characters of a wrong value that are shown: a tuple of arms would fill the screen."""


def shorten(value: object) -> str:
    """How a value is written, as far as that is short."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def line(value: Any) -> bool:
    """Whether it is a text that stays on its line; a no-break space, which Python counts as unprintable, does."""
    return isinstance(value, str) and all(one.isprintable() or category(one) == "Zs" for one in value)


def plain(value: Any) -> bool:
    """Whether the record can hold it: numpy's own numbers, for one, it cannot."""
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return _settings(value) if isinstance(value, Mapping) else value is None or isinstance(value, str | int | float)


def _settings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and plain(one) for key, one in value.items())


def _optional(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a text on one line", line),
    "str | None": ("a text on one line, or None", _optional(line)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "int | None": ("a whole number, or None", _optional(lambda value: isinstance(value, int))),
    "float | None": ("a number, or None", _optional(lambda value: isinstance(value, int | float))),
    "tuple[str, ...]": ("a tuple of texts", lambda value: isinstance(value, list | tuple)),
    "dict[str, Any]": ("a dict of configuration keys with plain numbers, texts, lists or None", _settings),
    "dict[str, str]": ("a dict of texts", lambda value: _settings(value) and all(map(line, value.values()))),
    "Callable[[str], str] | None": ("a function of the arm's label, or None", _optional(callable)),
}
"""What a field of each annotation must be."""


def check(who: str, part: Any) -> None:
    """Compare every field with its annotation; a text without a default must say something.

    Args:
        who: the part, as its author finds it.

    Raises:
        UsageError: the first field that is something else.
    """
    for field in fields(part):
        value, (rule, fits) = getattr(part, field.name), _RULES[field.type]
        if not fits(value):
            raise UsageError(f"{who}: {field.name} = {shorten(value)} must be {rule}")
        if field.type == "str" and field.default is MISSING and not value.strip():
            raise UsageError(f"{who}: has no {field.name}; say it in a few words")
