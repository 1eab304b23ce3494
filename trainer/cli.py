"""Command-line manners shared by every entry point: one-line errors and dotted overrides."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from typing import NoReturn

from trainer.data.sets.places import VARIABLE
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


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where the data sets' files are and whether they may be fetched."""
    parser.add_argument("--data-root", help="folder of the data sets' files (default: ./data)")
    parser.add_argument("--cache-dir", help=f"folder for decoded images and saliency maps (default: ${VARIABLE}, else beside the files)")
    parser.add_argument("--own-files", action="store_true", help="the files are not the published ones: do not compare checksums and counts")
    parser.add_argument("--download", action="store_true", help="fetch the data set if it is absent")
    parser.add_argument("--system-certs", action="store_true", help="trust the operating system's certificates (downloads, W&B)")


def data_settings(options: argparse.Namespace, data_root: str, cache_dir: str | None = None) -> dict[str, object]:
    """Settings for the options above; folders are made absolute, since a trial's process starts elsewhere, with an environment of its own.

    Args:
        data_root, cache_dir: what the configuration says without them.
    """
    settings: dict[str, object] = {"runtime.data_root": str(Path(options.data_root or data_root).absolute())}
    if cache := options.cache_dir or cache_dir or os.environ.get(VARIABLE):
        settings["runtime.cache_dir"] = str(Path(cache).absolute())
    return settings | {f"runtime.{name}": True for name in ("download", "own_files", "system_certs") if getattr(options, name)}


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
