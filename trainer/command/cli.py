"""Command-line manners shared by every entry point: one-line errors, examples, exit codes and dotted overrides."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from trainer.data.sets.places import VARIABLE
from trainer.errors import EXIT_USAGE, RecordError, UsageError, one_line

EXIT_INTERRUPTED, EXIT_NO_READER = 130, 141
"""Ctrl-C, and a reader of the output that went away (``| head``), as a shell reports SIGINT and SIGPIPE."""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line (raised as UsageError) and which guesses no abbreviations.

    Every parser has ``--version``; an option or override that is given twice with different values is an error.

    Args:
        examples: commands for the end of --help.
        exits: meaning by exit code, for the same place.
    """

    def __init__(self, *, examples: Iterable[str] = (), exits: Mapping[int, str] | None = None, **settings: Any):
        parts = ["\n  ".join(["examples:", *examples])] if examples else []
        parts += (
            ["\n  ".join(["exit codes:", *(f"{code:<4} {meaning}" for code, meaning in exits.items())])]
            if exits
            else []
        )
        super().__init__(allow_abbrev=False, formatter_class=_Help, epilog="\n\n".join(parts) or None, **settings)
        for name in (None, "store"):
            self.register("action", name, _Once)
        self.add_argument(
            "--version", action=_Version, help="print the version, the commit and the libraries, and exit"
        )

    def parse_args(self, args: list[str]) -> argparse.Namespace:  # type: ignore[override]
        for action in self._actions:
            if isinstance(action, _Once):
                action.given = None
        known, unknown = self.parse_known_intermixed_args(args)
        for word in unknown:
            options = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(word.partition("=")[0], options, n=1)
            raise UsageError(
                f"unknown option {word!r}{f' (did you mean {close[0]}?)' if close else ''}; see {self.prog} --help"
            )
        return known

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def guarded(run: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit code of ``run``, whatever a user's mistake, Ctrl-C or ``| head`` makes of it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us, as >&- does
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()  # also after --help; at the interpreter's end it would be too late to answer
    except BrokenPipeError:
        stop_writing()
        return EXIT_NO_READER
    except (UsageError, RecordError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED


def dispatched(
    program: str, commands: Mapping[str, tuple[str, str]], examples: Iterable[str], argv: list[str] | None
) -> int:
    """Run a sub-command of ``program``; returns its exit code, or 2 after one line ``error: ...``.

    Args:
        commands: name: (module with ``main(argv) -> exit code``, imported only when asked for; one line of help).
        argv: default: the process's own.
    """

    def run(words: list[str]) -> int:
        if not words or words[0] in ("-h", "--help"):
            text = [f"usage: {program} COMMAND [options] | --version", "", "commands (each has its own --help):"]
            width = max(8, *map(len, commands))
            text += [f"  {name:<{width}} {about}" for name, (_, about) in commands.items()]
            print("\n".join([*text, "", "examples:", *(f"  {example}" for example in examples)]))
            return 0 if words else EXIT_USAGE
        if words[0] == "--version":
            from trainer.command.version import line

            print(line())
            return 0
        if words[0] not in commands:
            close = difflib.get_close_matches(words[0], commands, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown command {words[0]!r}{hint}; it must be one of {', '.join(commands)}")
        return import_module(commands[words[0]][0]).main(words[1:])

    return guarded(lambda: run(sys.argv[1:] if argv is None else argv))


def stop_writing() -> None:
    """Send what is still printed nowhere: the interpreter would complain when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where the data sets' files are and whether they may be fetched."""
    parser.add_argument("--data-root", help="folder of the data sets' files (default: ./data)")
    parser.add_argument(
        "--cache-dir", help=f"folder for decoded images and saliency maps (default: ${VARIABLE}, else beside the files)"
    )
    parser.add_argument(
        "--own-files",
        action="store_true",
        help="the files are not the published ones: do not compare checksums and counts",
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set if it is absent")
    parser.add_argument(
        "--system-certs", action="store_true", help="trust the operating system's certificates (downloads, W&B)"
    )


def data_settings(options: argparse.Namespace, data_root: str, cache_dir: str | None = None) -> dict[str, object]:
    """Settings for the options above; folders are made absolute, since a trial's process starts elsewhere, with an
    environment of its own.

    Args:
        data_root, cache_dir: what the configuration says without them.
    """
    settings: dict[str, object] = {"runtime.data_root": str(Path(options.data_root or data_root).absolute())}
    if cache := options.cache_dir or cache_dir or os.environ.get(VARIABLE):
        settings["runtime.cache_dir"] = str(Path(cache).absolute())
    return settings | {
        f"runtime.{name}": True for name in ("download", "own_files", "system_certs") if getattr(options, name)
    }


def split_overrides(argv: list[str]) -> list[str]:
    """Accept ``--optim.lr=0.1`` and ``--optim.lr 0.1`` for ``optim.lr=0.1``; refuse two values for one key."""
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
    values: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        # the user means one of them, and which is not ours to guess
        if sign and not key.startswith("-") and values.setdefault(key, value) != value:
            raise UsageError(f"override {key}: given twice, as {values[key]} and as {value}; keep one")
    return words


class _Once(argparse._StoreAction):
    """Stores a value, but not two different ones: the last would win without a word."""

    given: Any = None

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if option_string and self.given is not None and self.given != values:
            raise UsageError(f"{option_string} is given twice, as {self.given} and as {values}; give it once")
        self.given = values if option_string else None
        super().__call__(parser, namespace, values, option_string)


class _Version(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from trainer.command.version import line

        print(line())
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Wraps paragraphs, but leaves text that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
