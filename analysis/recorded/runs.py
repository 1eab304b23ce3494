"""One run's record: its validation epochs, how it ended, and which code wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.record.dotted import dotted
from trainer.record.run_lines import REMEDY
from trainer.record.run_lines import read_run as read_run_lines

COLLAPSED_BELOW = 0.5
"""A run counts as collapsed when the effective rank of z is below this part of its untrained value."""


@dataclass(frozen=True)
class Run:
    """What the record of a run says.

    Attributes:
        evals: the validation line of each epoch.
        stop: the last line with event ``stop`` or ``error`` after which no epoch was trained; {} while
            the run has not ended.
        views: observed views M, or None if nothing was evaluated.
        epochs: where the run was to stop, by its own configuration; None if unknown.
        commit: the code version, several joined by ``+`` if attempts used different ones.
        dirty: whether any attempt ran with uncommitted changes; None if not on record.
        training: the training line of each epoch.
        config: the run's configuration, {} if it is not on record.
        started: what the last line that says where it ran says of it: device, host, split_hash, attempt;
            and processor, several joined by ``+`` if attempts used different ones.
        parameters: how many it trains, by part and in ``total``; {} in older records.
    """

    arm_id: str | None
    seed: int | None
    evals: dict[int, dict[str, Any]]
    stop: dict[str, Any]
    views: int | None
    epochs: int | None
    commit: str | None
    dirty: bool | None
    training: dict[int, dict[str, Any]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration as ``a.b.c``: value; lists are values."""
        return dotted(self.config)

    @property
    def processors(self) -> list[str]:
        """Kinds of processor on which its attempts ran, as far as they are on record."""
        return (self.started.get("processor") or "").split("+") if self.started.get("processor") else []

    @property
    def reached(self) -> int | None:
        """The last epoch evaluated."""
        return max(self.evals, default=None)

    def problem(self, last: int | None) -> str:
        """Why the run does not count as complete at epoch ``last``; "" if it does."""
        if self.reached is None:
            return "nothing evaluated"
        where = f"at epoch {self.reached}" + ("" if last is None else f" of {last}")
        if self.stop.get("reason") != "completed":
            return f"{self.stop.get('reason') or 'not ended'} ({where})"
        return "" if last in self.evals else f"ended {where}"

    def at(self, epoch: int) -> tuple[dict[str, float | None], int | None]:
        """Metrics after ``epoch`` and the epoch of their dearer probes (``r2_...``).

        These probes are fitted at some epochs only; the last fit up to ``epoch`` is the one that holds.
        """
        metrics = dict(self.evals[epoch]["metrics"])
        for earlier in sorted((number for number in self.evals if number <= epoch), reverse=True):
            line = self.evals[earlier]
            probes = {name: value for name, value in line["metrics"].items() if name.startswith("r2_")}
            if probes:
                when = line.get("probe_epoch")
                return metrics | probes, earlier if when is None else when
        return metrics, None

    def collapsed(self, epoch: int) -> bool | None:
        """Whether z lost more than half of its untrained effective rank; None if either is missing."""
        name = f"rank_pr/z@{self.views}"
        before, after = (self.evals.get(number, {}).get("metrics", {}).get(name) for number in (0, epoch))
        return None if before is None or after is None else after < COLLAPSED_BELOW * before


def read_run(path: Path) -> Run:
    """Read ``records.jsonl``.

    Raises:
        RecordError: a line other than a torn last one is damaged.
        UsageError: epochs were evaluated without the
            configuration on record.
    """
    return run_of(read_run_lines(path, path.parent.name), path)


def run_of(lines: Iterable[dict[str, Any]], path: Path) -> Run:
    """The run whose checked lines these are; ``path`` is for messages. Raises UsageError as ``read_run``."""
    evals: dict[int, dict[str, Any]] = {}
    stop: dict[str, Any] = {}
    training: dict[int, dict[str, Any]] = {}
    started: dict[str, Any] = {}
    parameters: dict[str, int] = {}
    trained = -1
    configs, provenances = [], []
    line: dict[str, Any] = {}
    for line in lines:
        event, epoch = line.get("event"), line.get("epoch")
        if line.get("config"):
            configs.append(line["config"])
        if line.get("provenance"):
            provenances.append(line["provenance"])
            started["host"] = line["provenance"].get("host")
        started |= {name: line[name] for name in ("device", "split_hash", "attempt") if line.get(name) is not None}
        parameters = parameters or line.get("parameters", {})
        if event in ("stop", "error"):
            if line.get("step", 0) >= trained:
                stop = line
        elif event == "epoch":
            trained = max(trained, line.get("step", 0))
            if epoch is not None:
                training.setdefault(epoch, line)
            if line.get("step", math.inf) > stop.get("step", -1):
                stop = {}  # the run was resumed and went on; an epoch before the end was lost, and put on record again
        elif event == "eval" and line.get("split") == "validation" and epoch is not None:
            evals.setdefault(epoch, line)
    if evals and not configs:
        raise UsageError(
            f"{path} has no configuration on any line; was its beginning cut off? {REMEDY[0].upper()}{REMEDY[1:]}"
        )
    config = configs[-1] if configs else {}
    commits = dict.fromkeys(str(source.get("commit") or "unknown") for source in provenances)
    started["processor"] = "+".join(dict.fromkeys(filter(None, (one.get("processor") for one in provenances)))) or None
    known = [source["dirty"] for source in provenances if source.get("dirty") is not None]
    return Run(
        arm_id=line.get("arm_id"),
        seed=line.get("seed"),
        evals=evals,
        stop=stop,
        views=config.get("data", {}).get("observed_views"),
        epochs=config.get("epochs"),
        commit="+".join(commits) or ("unknown" if line else None),  # a run that was only begun has none
        dirty=any(known) if known else None,
        training=training,
        config=config,
        started=started,
        parameters=parameters,
    )
