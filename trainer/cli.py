"""Command-line manners shared by every entry point: one-line errors and dotted overrides."""

from __future__ import annotations

import argparse
import difflib
from typing import NoReturn

from trainer.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line (raised as UsageError) and which guesses no abbreviations."""

    def __init__(self, **settings: object):
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, args: list[str]) -> argparse.Namespace:  # type: ignore[override]
        known, unknown = self.parse_known_intermixed_args(args)
        for word in unknown:
            options = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(word.partition("=")[0], options, n=1)
            raise UsageError(f"unknown option {word!r}{f' (did you mean {close[0]}?)' if close else ''}; see {self.prog} --help")
        return known

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def split_overrides(argv: list[str]) -> list[str]:
    """Accept ``--optim.lr=0.1`` and ``--optim.lr 0.1`` for ``optim.lr=0.1``."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and "." in name and not name.startswith("-"):
            word = word.removeprefix("--")
            if "=" not in word:
                value = next(rest, None)
                if value is None:
                    raise UsageError(f"override --{word} needs a value")
                word = f"{word}={value}"
        words.append(word)
    return words
