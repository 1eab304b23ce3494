"""What a study prints, on the screen and, with times, in ``study.log`` of its folder."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.table import Table
from rich.text import Text

from trainer.command.cli import stop_writing
from trainer.command.terminal import Terminal, command_lines

NAME = "study.log"
WIDTH = 120
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")


class StudyConsole(Terminal):
    """A console whose lines are also kept in a file from :meth:`keep` on; what was printed before is in it too.

    A reader that goes away (``| head``) ends the study as Ctrl-C does, and ``left`` says so. ``drawing`` is held while
    something is printed.
    """

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        super().__init__(width=None if terminal else WIDTH)  # a pipe has no width; the tables need this much
        self.log = StudyLog()
        self.left = False
        self.drawing: AbstractContextManager[Any] = nullcontext()
        self._plain = Console(file=self.log, width=WIDTH, no_color=True, force_terminal=False)

    def print(self, *objects: Any, **settings: Any) -> None:
        """See :meth:`rich.console.Console.print`."""
        if not objects or not all(isinstance(one, Control) for one in objects):
            self._plain.print(*objects, **settings)
        with self.drawing:
            super().print(*objects, **settings)

    def keep(self, folder: Path) -> None:
        """Write to ``study.log`` of this folder from now on, behind what is there."""
        self.log.open(folder / NAME)

    def on_broken_pipe(self) -> None:
        self.quiet = self.left = True
        stop_writing()
        raise KeyboardInterrupt

    @contextmanager
    def with_errors(self) -> Iterator[None]:
        """While entered, what is written to stderr is in the log as well."""
        before = sys.stderr
        sys.stderr = _Both(before, self.log)
        try:
            yield
        finally:
            sys.stderr = before


def beside_name(console: Console, name: str, text: str, width: int) -> None:
    """A line that begins with a name: on a terminal the text wraps between words, beside the name; elsewhere it is one
    line."""
    if not console.is_terminal:
        console.print(Text(f"{name:<{width}}{text}"), highlight=False, soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(width=width, no_wrap=True)
    row.add_column()
    row.add_row(Text(name, style="dim"), Text(text))
    console.print(row, highlight=False)


def print_command(console: Console, text: str, command: str) -> None:
    """A sentence and the command it is about, which stays one that can be pasted: a terminal gets it in lines that go
    on."""
    console.print(Text(text), highlight=False)
    shown = "\n".join(command_lines(command, console.width, "  ")) if console.is_terminal else f"  {command}"
    console.print(Text(shown), highlight=False, soft_wrap=True)


class StudyLog(io.TextIOBase):
    """Whole lines with the time of day; secrets of the environment are masked. A full disk ends the log, not the
    study."""

    def __init__(self) -> None:
        self._file: io.TextIOWrapper | None = None
        self._early: list[str] = []
        self._part = ""
        self._secrets = secrets(os.environ)  # now: later the environment may hold less
        self._lost = False

    def open(self, path: Path) -> None:
        """Begin to write, with the lines that came before."""
        early, self._early = self._early, []
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            self._give_up(error)
        self._put(early)

    def write(self, text: str) -> int:
        *lines, self._part = (self._part + text).split("\n")
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self._put([f"{now}  {masked(line, self._secrets)}".rstrip() + "\n" for line in lines])
        return len(text)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _put(self, lines: list[str]) -> None:
        if self._file is None:
            self._early += [] if self._lost else lines
            return
        try:
            self._file.writelines(lines)
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file, self._lost = None, True
        sys.__stderr__.write(f"warning: {NAME} cannot be written ({error.strerror}): the study goes on without it\n")


class _Both(io.TextIOBase):
    def __init__(self, stream: Any, log: StudyLog):
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        return self._stream.encoding


def secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that are named like secrets, and long enough to be recognised in a text."""
    return {name: value for name, value in environment.items() if _SECRET.search(name) and len(value) >= 8}


def masked(text: str, known: Mapping[str, str]) -> str:
    """Without these secrets, and without logins in addresses."""
    for name, value in known.items():
        text = text.replace(value, f"[{name}]")
    return _LOGIN.sub("[login]@", text)
