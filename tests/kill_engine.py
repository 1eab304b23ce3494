"""The engine on real records in a process that can be killed at any durable write.

A stand-in for training writes what the trainer writes: an ``epoch`` and an ``eval`` line per epoch in the run's
``records.jsonl``, then a checkpoint replaced atomically, then the report; it resumes from the checkpoint. Three runs
train in turn, an epoch each. Everything else is the study's own code.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from engine import plan, score_of

from studies.engine.decisions import Decisions
from studies.engine.job import Job, Seen
from studies.engine.jobs import Jobs
from studies.engine.plan import Plan
from studies.running.driver import _history
from studies.step2_rate import STUDY
from trainer.record.identity import arm_id, run_id
from trainer.record.run import RecordFile, write_atomically, write_json

EPOCHS, GRACE, WORKERS = 6, 2, 3


class Killed:
    """Ends this process by SIGKILL at the n-th durable operation: an fsync or the rename of a finished file.

    Args:
        at: number of the operation, from 0; None never kills, and only counts.
        torn: first cut half of the last line off the file being synced, as a kill within a write would leave it.
    """

    def __init__(self, at: int | None, torn: bool):
        self.count, self._at, self._torn = 0, at, torn
        self._fsync, self._replace = os.fsync, os.replace

    def __enter__(self) -> Killed:
        os.fsync, os.replace = self._on_fsync, self._on_replace
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync, os.replace = self._fsync, self._replace

    def _on_fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if self.count == self._at and self._torn and path.suffix == ".jsonl":
            raw = path.read_bytes()
            start = raw.rstrip(b"\n").rfind(b"\n") + 1
            os.truncate(path, start + (len(raw) - start) // 2)
        self._step()
        # in memory is enough here: a kill does not empty the system's cache, and the disk would take most of the time

    def _on_replace(self, old: os.PathLike, new: os.PathLike) -> None:
        self._step()
        self._replace(old, new)

    def _step(self) -> None:
        if self.count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def make_plan(folder: Path, lag: int, race: int = 0) -> Plan:
    """Twelve trials of two teachers, a rung at epoch 2 of 6, the two best of each confirmed on two seeds; with a race,
    trials wait at the rung, and its winner is confirmed alone."""
    horizon = ["schedule.horizon_epochs=6", "schedule.warmup_epochs=0"]
    return plan(
        folder,
        num_trials=12,
        epochs=EPOCHS,
        grace=GRACE,
        collapse_rank=1.5,
        top_k=2,
        lag=lag,
        race=race,
        rule="gate" if race else "asha-stop",
        overrides=horizon,
        gate=None,
    )


def measured(job: Job, epoch: int) -> tuple[float, float]:
    """Score and rank: lambda = 1 has collapsed by epoch 2, and 0.3 has no number from then on."""
    weight = job.overrides["objective.weights.rate"]
    score = score_of(job, epoch) + job.seed % 7
    return (float("nan") if weight > 0.25 and weight < 0.9 and epoch >= 2 else score), (
        1.1 if weight > 0.9 and epoch >= 2 else 9.0
    )


class Training:
    """A run in training."""

    def __init__(self, p: Plan, job: Job, ledger: Path):
        self.job, self._plan, self._ledger = job, p, ledger
        config = p.config(job.overrides, job.seed)
        self._folder = p.folder / "runs" / run_id(config)
        self._m = config.data.observed_views
        self._file = RecordFile(
            self._folder / "records.jsonl",
            {"study": "s", "run_id": run_id(config), "arm_id": arm_id(config), "seed": job.seed},
        )
        self._checkpoint = self._folder / "checkpoint.json"
        self.epoch = json.loads(self._checkpoint.read_text()) if self._checkpoint.exists() else 0
        if self._file.attempt > 1 and self.epoch < p.epochs:
            self._write("resume", self.epoch, {})
        if not self.epoch:
            self._write("eval", 0, {}, config=config.model_dump(mode="json"), split="validation")

    def train(self) -> Seen:
        """One epoch; what the run would report. One that was killed between its last checkpoint and its end only
        ends."""
        if self.epoch < self._plan.epochs:
            self._epoch()
        if self.epoch == self._plan.epochs:
            self._write("stop", self.epoch, {}, reason="completed", gate=None)
        score, rank = measured(self.job, self.epoch)
        score = None if score != score else score
        return Seen.of({"epoch": self.epoch, "score": score, "probe_epoch": self.epoch, "rank": rank})

    def _epoch(self) -> None:
        self.epoch += 1
        with self._ledger.open("a") as file:
            file.write(f"{self._folder.name} {self.epoch}\n")
        score, rank = measured(self.job, self.epoch)
        self._write("epoch", self.epoch, {"loss/total": 1 / self.epoch}, split="train")
        names = {f"linacc/z_agg@{self._m}": score, f"rank_pr/z_agg@{self._m}": rank}
        self._write("eval", self.epoch, names, split="validation")
        write_atomically(self._checkpoint, json.dumps(self.epoch).encode())

    def close(self) -> None:
        self._file.close()

    def _write(self, event: str, epoch: int, metrics: dict, **fields: object) -> None:
        position = {"step": epoch, "samples_seen": epoch, "epoch": epoch, "probe_epoch": epoch, "split": None}
        self._file.append(event, metrics, **{**position, **fields})


def run(folder: Path, lag: int, kill_at: int | None = None, torn: bool = False, slow: int = 0, race: int = 0) -> int:
    """Run or continue the study to its end; returns the number of durable operations.

    Args:
        slow: which of the workers trains only every other turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    p = make_plan(folder, lag, race)
    with Killed(kill_at, torn) as killed:
        write_json(folder / "study.json", p.stored())
        decisions = Decisions(folder)
        decisions.append("begin", cores=2, concurrent=2, workers=1, gpus=0, cpus=1, usd_per_hour=0.0, commit=None)
        jobs = Jobs(p, decisions, STUDY, _history(p))
        workers: list[Training | None] = [None] * WORKERS
        turn = 0
        while True:
            turn += 1
            for place, training in enumerate(workers):
                if training is None and (job := jobs.next()) is not None:
                    workers[place] = training = Training(p, job, folder / "ledger")
                if training is None or (place == slow and turn % 2):
                    continue
                seen = training.train()
                if jobs.report(training.job.name, seen) or training.epoch == p.epochs:
                    jobs.end(training.job.name, seen)
                    training.close()
                    workers[place] = None
            if not any(workers) and jobs.done:
                break
        jobs.comparison.write()
        decisions.append("session", seconds=1.0, cores=2, finished=True)
    return killed.count


def in_child(*arguments: object, **settings: object) -> int:
    """``run`` in a forked process; returns its exit status, -9 if it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(*arguments, **settings)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
