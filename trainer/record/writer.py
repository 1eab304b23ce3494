"""What one run writes to and reads from its record file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trainer import families
from trainer.config import RunConfig
from trainer.errors import RecordError
from trainer.record.identity import arm_id, other_code, provenance, run_id
from trainer.record.lock import NAME as LOCK
from trainer.record.lock import Lock
from trainer.record.probing import other_probing
from trainer.record.run import RecordFile, read_run

NAME = "records.jsonl"


class RunRecord:
    """The record of one run, opened by its rank 0, which holds the folder's lock until it is closed.

    Args:
        wait: until no other process trains the run (that of a killed driver may still be ending), instead of refusing.

    Raises:
        UsageError: another process trains the run.
        RecordError: another commit recorded the run and ``runtime.across_commits`` is off, or the record is damaged.
    """

    def __init__(self, config: RunConfig, folder: Path, study: str, wait: bool = False):
        self._config, self.path = config, folder / NAME
        self._name = run_id(config)
        busy = f"{folder}: another process is training this run ({{who}}); wait for it, or choose another --study name"
        self._lock = Lock(folder / LOCK, busy, wait)
        try:
            _same_commit(self.path, config)
            _same_probes(self.path, config)
            common = {"study": study, "run_id": self._name, "arm_id": arm_id(config), "seed": config.seed}
            self._file = RecordFile(self.path, common)
        except BaseException:
            self._lock.close()
            raise
        for half in folder.glob(".*.tmp"):  # a checkpoint that a kill left half written, as large as a whole one
            half.unlink()
        self._last = next(iter(reversed(self.lines())), None)
        self._evaluations = [line for line in self.lines() if self._is_validation(line)]

    @property
    def has_lines(self) -> bool:
        """Whether an earlier attempt wrote anything."""
        return self._file.attempt > 1

    def resume(self, step: int, probe_epoch: int, card: str | None = None) -> None:
        """Note that another attempt continues the run after ``step`` steps, on the GPU ``card``."""
        origin = provenance(self._config.family, card)
        self.write("resume", {}, step, probe_epoch, provenance=origin, repaired=self._file.repaired)

    def write(self, event: str, metrics: dict[str, float], step: int, probe_epoch: int | None, **fields: Any) -> None:
        """Append an event that happened after ``step`` steps; a repeated epoch that differs is reported."""
        position = {
            "step": step,
            "samples_seen": step * self._config.optim.batch_size,
            "epoch": step // self._config.steps_per_epoch,
            "probe_epoch": probe_epoch,
            "split": fields.pop("split", None),
        }
        line = self._file.append(event, metrics, **position, **fields)
        self._last = line
        if self._is_validation(line):
            self._evaluations.append(line)
        if line.get("differs"):
            print(
                f"warning: {line['run_id']}: epoch {line['epoch']} was trained again and gave other {event} metrics "
                "than those on record (other machine or library version?); the first ones stay on record",
                file=sys.stderr,
            )

    def error(self, error: Exception) -> None:
        """Note that this attempt ended with an exception; its class only, since a message may quote anything."""
        step = self._last.get("step", 0) if self._last else 0
        if isinstance(error, RecordError):
            return  # files of the run are damaged: they stay as they are found
        self.write("error", {}, step, None, reason=type(error).__name__)

    def lines(self) -> list[dict[str, Any]]:
        return list(read_run(self.path, self._name))

    def behind(self, step: int) -> bool:
        """Whether the record lacks epochs that a checkpoint of ``step`` steps has passed; said if so.

        A checkpoint is written after its epoch is on record, so lines were lost. It cannot give them back: the run is
        trained again from the start, and epochs that are still on record are not written twice.
        """
        missing = gaps(self.lines(), step // self._config.steps_per_epoch, self._config)
        if missing:
            print(
                f"warning: {self.path} lacks epoch {', '.join(map(str, missing))} of the"
                f" {step // self._config.steps_per_epoch} that the checkpoint beside it has: the run is trained again"
                " from the start, and what is missing is put on record",
                file=sys.stderr,
            )
        return bool(missing)

    def summary(self, epoch: int) -> dict[str, Any]:
        """The report of an epoch on record: validation metrics, ``epoch``, ``probe_epoch`` and ``score``.

        Between probe epochs the last probed values are carried forward; ``probe_epoch`` says from when.
        ``score`` and the other names are the family's headline; None where not finite.
        """
        return summarise(self._evaluations, epoch, self._config)

    def _is_validation(self, line: dict[str, Any]) -> bool:
        return (
            line["event"] == "eval"
            and line.get("split") == self._config.data.select_on
            and line.get("epoch") is not None
        )

    def close(self) -> None:
        self._file.close()
        self._lock.close()


def gaps(lines: list[dict[str, Any]], last: int, config: RunConfig) -> list[int]:
    """Epochs from 0 to ``last`` that a record lacks, trained and evaluated; epoch 0 carries the configuration."""
    trained = {line.get("epoch") for line in lines if line["event"] == "epoch"} | {0}
    evals = [line for line in lines if line["event"] == "eval" and line.get("split") == config.data.select_on]
    evaluated = {line.get("epoch") for line in evals if line.get("epoch") or line.get("config")}
    return [epoch for epoch in range(last + 1) if epoch not in trained & evaluated]


def summarise(evaluations: list[dict[str, Any]], epoch: int, config: RunConfig) -> dict[str, Any]:
    """See :meth:`RunRecord.summary`; ``evaluations`` are a record's lines on the selection split."""
    metrics: dict[str, Any] = {}
    probed = None
    # by epoch: one that was lost and trained again stands behind later ones
    for line in sorted((line for line in evaluations if line["epoch"] <= epoch), key=lambda line: line["epoch"]):
        metrics, probed = metrics | line["metrics"], line.get("probe_epoch")
    return {**metrics, "epoch": epoch, "probe_epoch": probed} | {
        name: metrics.get(metric) for name, metric in families.headline(config).items()
    }


def reports_on_record(path: Path, config: RunConfig, name: str | None = None) -> tuple[list[dict[str, Any]], bool]:
    """The reports of a run's epochs on record, oldest first, and whether it ran to its end.

    What a run in training would have reported after each epoch. A run that diverged ends with a report that says so. A
    record without its beginning, which holds the configuration, is no record.

    Args:
        name: id of the run, where ``config`` is another of the same data and evaluation.
    """
    lines = list(read_run(path, name or run_id(config)))
    if gaps(lines, 0, config):
        return [], False
    evaluations = [line for line in lines if line["event"] == "eval" and line.get("split") == config.data.select_on]
    trained = {line.get("epoch") for line in lines if line["event"] == "epoch"} - {None}
    reports = [
        summarise(evaluations, epoch, config) for epoch in sorted({e.get("epoch") for e in evaluations} & trained)
    ]
    ends = [line["reason"] for line in lines if line["event"] == "stop"]
    if any(reason.startswith("diverged") for reason in ends):
        epoch = (reports[-1]["epoch"] if reports else 0) + 1
        reports.append({"epoch": epoch, "score": None, "diverged": True})
    return reports, "completed" in ends


def _same_probes(path: Path, config: RunConfig) -> None:
    before = next((line["config"] for line in read_run(path) if line.get("config")), {})
    if found := other_probing(before, config.model_dump(mode="json")):
        raise RecordError(
            f"{path} was measured with {found}: numbers of different probes are not one curve; choose another --study"
            " name, or measure the checkpoint so with python -m trainer.evaluate --set"
        )


def _same_commit(path: Path, config: RunConfig) -> None:
    found = None if config.runtime.across_commits else other_code(read_run(path))
    if found:
        raise RecordError(
            f"{path} was {found}: numbers of different code are not one arm; use another results folder, or"
            " --across-commits if you know that nothing relevant changed"
        )
