"""A run that came from elsewhere, and its rows. Nothing is guessed: what its source does not say is missing."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.frames.build import flat
from analysis.frames.columns import COLUMNS

_NOT_A_NUMBER = {"nan": math.nan, "infinity": math.inf, "-infinity": -math.inf, "inf": math.inf, "-inf": -math.inf}
_OURS = {column.name for column in COLUMNS["epochs"] if "/" not in column.name}
ROLE = "foreign"
DEEP = 4


@dataclass
class ForeignRun:
    """One run of one source.

    Attributes:
        study: what it is grouped under; its project or folder.
        settings: nested, as recorded.
        lines: dicts with epoch, step, split and caveat where known, and ``metrics``; in the order of the source, a key
            that comes twice stands twice.
        about: further columns of ``runs``.
        caveats: what speaks against it.
    """

    origin: str
    study: str
    run_id: str
    source: Path
    sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Rows by frame."""
        ours = isinstance(own := self.settings.get("arm_id"), str)  # a study's mirror at W&B, whose steps are epochs
        arm_id = own if ours else settings_hash(self.settings)
        for line in self.lines if ours else ():
            line["epoch"] = line.get("step") if line.get("epoch") is None else line["epoch"]
        who = {"study": self.study, "run_id": self.run_id, "arm_id": arm_id, "seed": whole(self.settings.get("seed"))}
        who |= {"origin": self.origin, "source": str(self.source)}
        epochs = [line["epoch"] for line in self.lines if line.get("epoch") is not None]
        run = who | {"epoch": max(epochs, default=None), "sha256": self.sha256, "arm": self.run_id} | self.about
        run["caveat"] = "; ".join(dict.fromkeys(self.caveats)) or None
        lines = [who | {"conflict": False} | _line(line) for line in self.lines]
        if arm_id is None:
            return {"runs": [run], "epochs": lines}
        arm = {"study": self.study, "arm_id": arm_id, "role": ROLE, "arm": self.run_id, "origin": self.origin}
        return {"runs": [run], "epochs": lines, "arms": [arm | flat(self.settings, without=("seed",))]}


class Numbers:
    """Values of a source as floats; counts what was written as text and what is no number at all."""

    def __init__(self) -> None:
        self.text: Counter[str] = Counter()
        self.left_out: set[str] = set()

    def of(self, values: Mapping[str, Any], prefix: str = "", null: str = "") -> dict[str, float]:
        """The metrics in nested ``values``, joined by ``/``; missing ones stay missing.

        Args:
            null: a text that stands for a value that is not a number.
        """
        found: dict[str, float] = {}
        for name, value in values.items():
            if isinstance(value, Mapping) and "_type" in value:  # a picture, a table, a histogram
                self.left_out.add(f"{prefix}{name}")
            elif isinstance(value, Mapping):
                found |= self.of(value, f"{prefix}{name}/", null)
            elif isinstance(value, bool | int | float):
                found[f"{prefix}{name}"] = _float(value)
            elif isinstance(value, str) and (value.lower() in _NOT_A_NUMBER or (null and value == null)):
                self.text[value] += 1
                found[f"{prefix}{name}"] = _NOT_A_NUMBER.get(value.lower(), math.nan)
            elif value is not None:
                self.left_out.add(f"{prefix}{name}")
        return found

    def caveats(self) -> list[str]:
        """What was seen, in sentences."""
        said = [
            f"{count} value{'' if count == 1 else 's'} written as text {word!r}" for word, count in self.text.items()
        ]
        if self.left_out:
            names = sorted(self.left_out)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said.append(f"no numbers, left out: {', '.join(names[:3])}{more}")
        return said


def settings_hash(settings: Mapping[str, Any]) -> str | None:
    """Ten hexadecimal digits, equal for equal settings but for the seed; None where none are known."""
    kept = {name: value for name, value in settings.items() if name != "seed"}
    if not kept:
        return None
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:10]


def within(path: Path, pattern: str) -> list[Path]:
    """Files of a name in a folder and at most ``DEEP`` below it: a mistaken path must not search a whole disk."""
    return sorted(file for depth in range(DEEP + 1) for file in path.glob("*/" * depth + pattern))


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole_epoch(metrics: dict[str, float]) -> int | None:
    """Take ``epoch`` out of a line's metrics where it is a whole number."""
    value = whole(metrics.get("epoch"))
    if value is not None:
        del metrics["epoch"]
    return value


def whole(value: Any) -> int | None:
    """A count, as a whole number that a frame can hold; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _line(line: dict[str, Any]) -> dict[str, Any]:
    row = {name: line.get(name) for name in ("epoch", "step", "split", "caveat")}
    return row | {f"metric.{name}" if name in _OURS else name: value for name, value in line["metrics"].items()}


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond a float's range
        return math.inf if value > 0 else -math.inf
