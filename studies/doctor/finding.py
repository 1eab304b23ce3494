"""What a check returns, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``ok``, ``warn`` (a study runs, but look at this) or ``FAIL`` (it would not run, or not be trusted).
        what: the thing that was checked.
        value: what was found.
        why: why it matters; empty if ok.
        do: what to do about it; empty if ok.
    """

    level: str
    what: str
    value: str
    why: str = ""
    do: str = ""

    @property
    def line(self) -> str:
        told = "; ".join(part for part in (self.why, self.do) if part)
        text = f"{self.value}: {told}" if told else self.value
        return f"{self.level:<5} {self.what:<10} {' '.join(text.split())}"


def ok(what: str, value: str) -> Finding:
    return Finding("ok", what, value)


def warn(what: str, value: str, why: str, do: str) -> Finding:
    return Finding("warn", what, value, why, do)


def fail(what: str, value: str, why: str, do: str) -> Finding:
    return Finding("FAIL", what, value, why, do)


def summary(findings: Iterable[Finding]) -> str:
    """The last line: how many of each."""
    levels = [finding.level for finding in findings]
    wrong, doubtful = levels.count("FAIL"), levels.count("warn")
    if wrong:
        return f"{wrong} to fix before a study can run{f', {doubtful} to look at' if doubtful else ''}"
    return f"ready to run{f'; {doubtful} to look at' if doubtful else ''}"
