"""How far paired seeds differed in the studies already on record: what a plan knows of the noise before it spends.

Reads decisions.jsonl and the runs of compared arms; pandas would take longer to import than a dry run may.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.errors import RecordError, UsageError
from trainer.record.copies import copies
from trainer.record.run_lines import read_run
from trainer.record.study_lines import read_decisions, read_info

MOST_STUDIES = 8
"""The studies begun last are read, no more: a dry run answers at once."""


@dataclass(frozen=True)
class Pair:
    """Two compared arms of an earlier study in one metric.

    Attributes:
        question: of the contrast that declared them, None if none did.
        by_seed: arm minus reference.
        arms: ids of both.
        alike: whether the settings common to all arms are those asked for.
    """

    study: str
    question: str | None
    by_seed: dict[int, float]
    arms: frozenset[str]
    alike: bool = True

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def squares(self) -> float:
        mean = math.fsum(self.differences) / len(self.differences)
        return math.fsum((one - mean) ** 2 for one in self.differences)


@dataclass(frozen=True)
class Spread:
    """S.d. of the paired difference, pooled over pairs of arms by their degrees of freedom.

    Attributes:
        same: whether all of them answer the very question.
    """

    sd: float
    pairs: tuple[Pair, ...]
    same: bool

    @property
    def studies(self) -> list[str]:
        return list(dict.fromkeys(pair.study for pair in self.pairs))

    @property
    def alike(self) -> bool:
        return all(pair.alike for pair in self.pairs)

    @property
    def seeds(self) -> int:
        return sum(len(pair.differences) for pair in self.pairs)


@dataclass(frozen=True)
class Earlier:
    """Studies of one preset and length in a results folder.

    Args:
        results: the folder.
        preset: its name on record.
        epochs: of a run.
        base: arm of the settings common to all arms; None: whatever they are.
    """

    results: Path
    preset: str
    epochs: int
    base: str | None = None
    _runs: dict[tuple[Path, str], dict[str, float]] = field(default_factory=dict)

    def spread(self, question: str, metric: str) -> Spread | None:
        """The s.d. of a contrast: of the same question where that was asked, else of any arm and its reference; of
        studies with the same common settings where there are any, else of others.

        None where fewer than two degrees of freedom are on record, or seeds agree throughout.
        """
        pairs = [pair for one in self._studies for pair in self._pairs(one, metric)]
        for alike, same in ((True, True), (True, False), (False, True), (False, False)):
            wanted = _once(one for one in pairs if one.alike >= alike and (not same or one.question == question))
            freedom = sum(len(pair.differences) - 1 for pair in wanted)
            if freedom >= 2 and (squares := math.fsum(pair.squares for pair in wanted)) > 0:
                return Spread(math.sqrt(squares / freedom), tuple(wanted), same)
        return None

    @cached_property
    def _studies(self) -> list[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
        """Folder, study.json and compared arms; a study that cannot be read is none that helps."""
        found = []
        files = sorted(self.results.glob("*/study.json"), key=lambda file: -file.stat().st_mtime)
        for file in files:
            try:
                info = read_info(file)
                if (info.get("preset"), info.get("epochs")) != (self.preset, self.epochs):
                    continue
                lines = [one for one in read_decisions(file.with_name("decisions.jsonl")) if one["event"] == "compare"]
            except (UsageError, RecordError, OSError):
                continue
            found.append((file.parent, info, lines))
            if len(found) == MOST_STUDIES:
                break
        twice = copies(folder for folder, _, _ in found)
        return [study for study in found if study[0] not in twice]

    def _pairs(self, study: tuple[Path, dict[str, Any], list[dict[str, Any]]], metric: str) -> Iterator[Pair]:
        folder, info, lines = study
        by_key = {line["key"]: line for line in lines if line.get("key")}
        by_arm = {line["arm_id"]: line for line in lines if line["role"] != "untrained"}
        contrasts, alike = _contrasts(info), self.base is None or info.get("base_arm") in (None, self.base)
        asked = [(one["question"], by_key.get(one["arm"]), by_key.get(one["reference"])) for one in contrasts]
        others = [(None, line, by_arm.get(line.get("reference"))) for line in by_arm.values()]
        known = set()
        for question, arm, reference in [*asked, *others]:
            if arm is None or reference is None or arm["arm_id"] == reference["arm_id"]:
                continue
            if (compared := frozenset((arm["arm_id"], reference["arm_id"]))) in known:
                continue
            known.add(compared)
            ours, theirs = (self._values(folder, line, metric) for line in (arm, reference))
            both = sorted(ours.keys() & theirs.keys())
            yield Pair(
                str(info["study"]), question, {seed: ours[seed] - theirs[seed] for seed in both}, compared, alike
            )

    def _values(self, folder: Path, line: dict[str, Any], metric: str) -> dict[int, float]:
        """The metric at the last epoch by seed, of the runs that reached it."""
        found = {}
        for seed, run in zip(line.get("seeds") or (), line.get("runs") or (), strict=True):
            value = self._last(folder, run).get(metric)
            if value is not None:
                found[seed] = value
        return found

    def _last(self, folder: Path, run: str) -> dict[str, float]:
        """Metrics of a completed run at its last epoch, ``@M`` standing for its number of views."""
        if (folder, run) not in self._runs:
            self._runs[folder, run] = self._read(folder / "runs" / run / "records.jsonl")
        return self._runs[folder, run]

    def _read(self, path: Path) -> dict[str, float]:
        metrics: dict[str, float | None] = {}
        views, done, reached = None, False, False
        try:
            for line in read_run(path, path.parent.name):
                views = ((line.get("config") or {}).get("data") or {}).get("observed_views", views)
                done = line.get("reason") == "completed" if line["event"] == "stop" else done
                if line["event"] == "eval" and line.get("split") == "validation" and line.get("epoch") is not None:
                    if line["epoch"] > self.epochs:
                        continue
                    # the dearer probes are fitted at some epochs only; the last fit holds
                    kept = {name: value for name, value in metrics.items() if name.startswith("r2_")}
                    metrics = kept | line["metrics"]
                    reached = line["epoch"] == self.epochs
        except (RecordError, OSError):
            return {}
        if not (done and reached):
            return {}
        known = {name: float(value) for name, value in metrics.items() if value is not None}
        of_views = {name.rpartition("@")[0]: value for name, value in known.items() if name.endswith(f"@{views}")}
        return known | {f"{name}@M": value for name, value in of_views.items()}


def _once(pairs: Iterable[Pair]) -> list[Pair]:
    """Without the seeds that another study ran both arms on before: the same run again is no second observation."""
    known: set[tuple[frozenset[str], int]] = set()
    found = []
    for pair in pairs:
        fresh = {seed: value for seed, value in pair.by_seed.items() if (pair.arms, seed) not in known}
        known |= {(pair.arms, seed) for seed in fresh}
        if len(fresh) > 1:
            found.append(replace(pair, by_seed=fresh))
    return found


def _contrasts(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The declared contrasts of a study.json; none of a form that is not ours."""
    noted = info.get("declared")
    contrasts = noted.get("contrasts") if isinstance(noted, dict) else None
    whole = {"question", "arm", "reference"}
    return [one for one in contrasts or () if isinstance(one, dict) and whole <= one.keys()]
