"""The lines of runs' records, reduced as they are read: of all metrics only the wanted one is held in memory."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import RecordError, UsageError
from trainer.record.run_lines import check_line, read_run

PACKED = ".jsonl.gz"
"""Ending of files that hold the lines of several runs, compressed."""


@dataclass
class RunLines:
    """What one run's lines say, before anything is judged.

    Attributes:
        config: its configuration on record, {} without one.
        evaluated: epochs with a row on validation.
        values: the metric at those where it was measured; NaN where it is null.
        seconds: of each epoch, training and probes.
        stop: reason of the end after which no epoch was trained, None while there is none.
        test_rows: rows of the test split passed over.
        trained, stopped: steps of the last epoch trained and of the end.
    """

    name: str
    arm: str = ""
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    evaluated: set[int] = field(default_factory=set)
    values: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    stop: str | None = None
    test_rows: int = 0
    trained: int = -1
    stopped: int = -1
    commits: set[str] = field(default_factory=set)

    def take(self, epoch: int, line: dict[str, Any], metric: str) -> None:
        """Note the validation row of an epoch; of two, the first counts."""
        if epoch in self.evaluated:
            return
        self.evaluated.add(epoch)
        name = f"{metric[:-1]}{self.config.get('data', {}).get('observed_views')}" if metric.endswith("@M") else metric
        if name in line["metrics"]:
            value = line["metrics"][name]
            self.values[epoch] = math.nan if value is None else float(value)
        if epoch > 0 and line.get("seconds"):
            self.seconds[epoch] = sum(line["seconds"].values())


def read_runs(paths: Iterable[Path], metric: str) -> tuple[list[RunLines], list[tuple[str, str]], list[str]]:
    """Every run under the paths once, (run, reason) of those met again, and the names of the probe metrics on record.

    Raises:
        UsageError: a path without records, or a damaged file.
    """
    runs: dict[str, RunLines] = {}
    names: set[str] = set()
    left_out: list[tuple[str, str]] = []
    for path in paths:
        files = _record_files(path) if path.is_dir() else [path]
        if not path.exists() or not files:
            raise UsageError(
                f"{path}: {'holds no records.jsonl' if path.exists() else 'does not exist'}; "
                "give a study's folder, results/<study>"
            )
        for file in files:
            found = _read_file(file, metric, names)
            left_out += [
                (run.name, f"the same run is already read from another file, not again from {file}")
                for run in found
                if run.name in runs
            ]
            runs |= {run.name: run for run in found if run.name not in runs}
    return list(runs.values()), left_out, sorted(name for name in names if name.startswith(("linacc", "online", "r2_")))


def _record_files(folder: Path) -> list[Path]:
    """Records at any depth; folders with a dot hold copies that a kill may have left half made."""
    found = sorted([*folder.rglob("records.jsonl"), *folder.rglob(f"*{PACKED}")])
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _read_file(file: Path, metric: str, names: set[str]) -> list[RunLines]:
    runs: dict[str, RunLines] = {}
    try:
        lines = _packed(file) if file.name.endswith(PACKED) else _configured(list(read_run(file)))
        for line in lines:
            run = runs.setdefault(line["run_id"], RunLines(line["run_id"], line["arm_id"], line["seed"]))
            run.config = line.get("config") or run.config
            if line.get("provenance"):
                run.commits.add(str(line["provenance"].get("commit") or "unknown"))
            event, epoch, split = line["event"], line.get("epoch"), line.get("split")
            if event in ("stop", "error"):
                if line.get("step", 0) >= run.trained:
                    run.stop, run.stopped = str(line.get("reason")), line.get("step", -1)
            elif event == "epoch":
                run.trained = max(run.trained, line.get("step", 0))
                if line.get("step", math.inf) > run.stopped:
                    # the run was resumed and went on; an epoch before the end was lost, and put on record again
                    run.stop = None
            elif event == "eval" and split == "test":
                run.test_rows += 1
            elif event == "eval" and split == "validation" and epoch is not None:
                run.take(epoch, line, metric)
                names.update(line["metrics"])
    except RecordError as error:
        raise UsageError(str(error)) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is not a run's record ({type(error).__name__}: {error})") from None
    return list(runs.values())


def _configured(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines with the configurations first: a lost first line was put on record again behind the others."""
    return sorted(lines, key=lambda line: not line.get("config"))


def _packed(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a compressed file, which was written whole: a torn one is damaged, not repaired."""
    try:
        with gzip.open(file, "rt", encoding="utf-8") as text:
            for number, line in enumerate(map(json.loads, text), start=1):
                if not isinstance(line, dict):
                    raise ValueError(f"line {number} must be one JSON object, not {type(line).__name__}")
                check_line(file, number, line)
                yield line
    except RecordError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise RecordError(f"{file}: cannot be read ({type(error).__name__}: {error}); restore it from a copy") from None
