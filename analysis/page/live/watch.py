"""A study that is followed: what its page holds now, part by part, and which parts have changed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis.page import words
from analysis.page.facts import Facts, gather
from analysis.page.figures import FIGURES
from analysis.page.live.tail import Tails
from analysis.page.sections import SECTIONS
from analysis.page.writing import Part, Written, data_json, part_html
from analysis.recorded.study import load
from trainer.errors import RecordError, UsageError, one_line

FIGURE_SECONDS = 60.0
"""Least time between two drawings of a figure; a sentence that says why there is none costs nothing and never waits."""
STATE_SECONDS = 15.0
"""Without a change on record the page is made again, since a silent study counts as dead some time."""
PREFIX = "s1"


@dataclass
class Watched:
    """One study folder.

    Attributes:
        key: by which it is asked for; never a part of a path.
        error: why it cannot be read at present; what was read before stays.
        hashes: of each part's HTML, and of the tables' data.
        seconds: of a processor that the last refresh took.
    """

    key: str
    folder: Path
    error: str = ""
    facts: Facts | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    data: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    _signature: tuple[Any, ...] = ()
    _made: float = 0.0
    _tails: Tails = field(default_factory=Tails)
    _drawn: dict[str, tuple[float, tuple[Any, ...], Markup]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.facts is not None and self.facts.progress.whole

    def refresh(self, now: float | None = None) -> bool:
        """Read what is new and make the page again; returns whether anything on it changed."""
        now = time.time() if now is None else now
        signature = self._look()
        if signature == self._signature and now - self._made < STATE_SECONDS:
            return False
        begun = time.thread_time()
        try:
            facts = gather(load(self.folder, self._tails), now)
            made = {
                section.name: Part(
                    section.name, section.title, part_html(facts, section, PREFIX, self._draw(facts, signature, now))
                )
                for section in SECTIONS
            }
            data = str(data_json(facts))
        except (UsageError, RecordError, OSError) as error:
            changed = self.error != str(error)
            self.error, self._signature, self._made = one_line(error), signature, now
            return changed
        self.error, self.facts, self.parts, self.data = "", facts, made, data
        self._signature, self._made, self.seconds = signature, now, time.thread_time() - begun
        before, self.hashes = (
            self.hashes,
            {name: _hash(str(part.html)) for name, part in made.items()} | {"data": _hash(data)},
        )
        return before != self.hashes

    def written(self) -> Written:
        """For the whole page."""
        assert self.facts is not None
        return Written(
            PREFIX, self.facts.study.name, words.head(self.facts), list(self.parts.values()), Markup(self.data)
        )

    def _look(self) -> tuple[Any, ...]:
        """What tells whether anything was written: two numbers of every file."""
        found = []
        for path in [
            self.folder / "study.json",
            self.folder / "decisions.jsonl",
            *sorted((self.folder / "runs").glob("[!.]*/records.jsonl")),
        ]:
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _draw(self, facts: Facts, signature: tuple[Any, ...], now: float):
        def draw(name: str) -> Markup:
            made, of, html = self._drawn.get(name, (float("-inf"), (), Markup("")))
            # at the end once more, however short ago the last one was
            waits = html.startswith("<figure") and now - made < FIGURE_SECONDS and not facts.progress.whole
            if of != signature and not waits:
                html = FIGURES[name].html(facts, f"{PREFIX}-{name}")
                self._drawn[name] = (now, signature, html)
            return html

        return draw


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
