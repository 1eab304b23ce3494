"""What one run writes to and reads from its record file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trainer.config import RunConfig
from trainer.errors import RecordError
from trainer.identity import arm_id, provenance, run_id
from trainer.records import RecordFile, read

NAME = "records.jsonl"


class RunRecord:
    """The record of one run, opened by its rank 0.

    Raises:
        RecordError: another commit recorded the run and ``runtime.across_commits`` is off.
    """

    def __init__(self, config: RunConfig, folder: Path, study: str):
        self._config, self.path = config, folder / NAME
        _same_commit(self.path, config)
        common = {"study": study, "run_id": run_id(config), "arm_id": arm_id(config), "seed": config.seed}
        self._file = RecordFile(self.path, common)
        for half in folder.glob(".*.tmp"):  # a checkpoint that a kill left half written, as large as a whole one
            half.unlink()
        self._last = next(iter(reversed(self.lines())), None)
        self._evaluations = [line for line in self.lines() if self._is_validation(line)]

    @property
    def has_lines(self) -> bool:
        """Whether an earlier attempt wrote anything."""
        return self._file.attempt > 1

    def resume(self, step: int, probe_epoch: int) -> None:
        """Note that another attempt continues the run after ``step`` steps."""
        self.write("resume", {}, step, probe_epoch, provenance=provenance(), repaired=self._file.repaired)

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
        step = self._last["step"] if self._last else 0
        self.write("error", {}, step, None, reason=type(error).__name__)

    def lines(self) -> list[dict[str, Any]]:
        return list(read(self.path))

    def summary(self, epoch: int) -> dict[str, Any]:
        """The report of an epoch on record: validation metrics, ``epoch``, ``probe_epoch`` and ``score``.

        Between probe epochs the last probed values are carried forward; ``probe_epoch`` says from when.
        ``score`` is the linear accuracy of the aggregate in percent, ``rank`` its effective rank, ``r2_action`` what the
        codes of two views tell of the action; None where not finite.
        """
        return summarise(self._evaluations, epoch, self._config)

    def _is_validation(self, line: dict[str, Any]) -> bool:
        return line["event"] == "eval" and line["split"] == self._config.data.select_on

    def close(self) -> None:
        self._file.close()


def summarise(evaluations: list[dict[str, Any]], epoch: int, config: RunConfig) -> dict[str, Any]:
    """See :meth:`RunRecord.summary`; ``evaluations`` are a record's lines on the selection split, in order."""
    metrics: dict[str, Any] = {}
    probed = None
    for line in evaluations:
        if line["epoch"] <= epoch:
            metrics, probed = metrics | line["metrics"], line["probe_epoch"]
    m, scale = config.data.observed_views, config.data.action_scale
    named = {"score": f"linacc/z_agg@{m}", "rank": f"rank_pr/z_agg@{m}", "r2_action": f"r2_action.{scale}/z_pair@2"}
    return {**metrics, "epoch": epoch, "probe_epoch": probed} | {name: metrics.get(metric) for name, metric in named.items()}


def reports_on_record(path: Path, config: RunConfig) -> tuple[list[dict[str, Any]], bool]:
    """The reports of a run's epochs on record, oldest first, and whether it ran to its end.

    What a run in training would have reported after each epoch. A run that diverged ends with a report that says so.
    """
    lines = list(read(path))
    evaluations = [line for line in lines if line["event"] == "eval" and line["split"] == config.data.select_on]
    trained = {line["epoch"] for line in lines if line["event"] == "epoch"}
    reports = [summarise(evaluations, epoch, config) for epoch in sorted({e["epoch"] for e in evaluations} & trained)]
    ends = [line["reason"] for line in lines if line["event"] == "stop"]
    if any(reason.startswith("diverged") for reason in ends):
        epoch = (reports[-1]["epoch"] if reports else 0) + 1
        reports.append({"epoch": epoch, "score": None, "diverged": True})
    return reports, "completed" in ends


def _same_commit(path: Path, config: RunConfig) -> None:
    recorded = {line["provenance"]["commit"] for line in read(path) if "provenance" in line}
    now = provenance()["commit"]
    others = recorded - {now, None}
    if others and now is not None and not config.runtime.across_commits:
        raise RecordError(
            f"{path} was recorded by commit {', '.join(sorted(c[:10] for c in others))}, this code is {now[:10]}: "
            "numbers of different code are not one arm; use another results folder, or --across-commits if you know "
            "that nothing relevant changed"
        )
