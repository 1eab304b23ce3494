"""A study as a user runs it: a driver in its own process, and what is on record meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from small import SMALL

from faults import processes

ROOT = Path(__file__).resolve().parent.parent.parent
SEARCH = ROOT / "studies" / "step2_rate.py"
ONE_ARM = Path(__file__).parent / "one_arm.py"
STOPPED = Path(__file__).parent / "stopped.py"
FULL = Path(__file__).parent / "full.py"
# six trials of which some are stopped at epoch 2, then five compared runs: every kind of decision in half a minute
SHORT = [
    "--num-trials",
    "6",
    "--lag",
    "2",
    "--deterministic",
    "--epochs",
    "4",
    "--grace",
    "2",
    "--seeds",
    "1",
    "--top-k",
    "1",
    *SMALL,
    "data.sizes=[768,128,128]",
]
# generous: on a busy machine everything takes several times as long, and a fault that hangs is found all the same
SECONDS = 400
Found = TypeVar("Found")


class Ended(AssertionError):
    """The driver ended before what was waited for."""


class Study:
    """One study folder and its drivers, one after the other.

    Args:
        results: its folder is ``results/s``.
        prefix: command that runs the driver, for example in a name space of its own.
        executor: who executes the trials; plain processes start in a fraction of Ray's time.
    """

    def __init__(
        self, results: Path, *arguments: str, script: Path = SEARCH, prefix: tuple[str, ...] = (), executor: str = "ray"
    ):
        self.folder = results / "s"
        self.driver: subprocess.Popen | None = None
        self.kills = 0
        results.mkdir(parents=True, exist_ok=True)
        common = ["--results-dir", str(results), "--study", "s", "--across-commits", "--resume", "--executor", executor]
        self._command = [*prefix, sys.executable, str(script), *common, *arguments]
        self._results, self._log = results, results / "driver-0.log"
        self._seen: dict[int, str | None] = {}
        self._looked = 0.0
        self._read: dict[Path, tuple[tuple[int, int], list[dict[str, Any]]]] = {}

    # --- the driver

    def start(self, *more: str) -> Study:
        """Begin or continue the study."""
        self._log = self._results / f"driver-{len(list(self._results.glob('driver-*.log'))) + 1}.log"
        self._seen = {}
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "COLUMNS": "120",
            "OMP_NUM_THREADS": "1",
        }
        silent = [] if "--wandb" in [*self._command, *more] else ["--wandb", "off"]
        with self._log.open("w") as log:  # not a pipe, which a process left behind would hold open
            self.driver = subprocess.Popen(
                [*self._command, *more, *silent], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def wait(self, code: int = 0, seconds: float = SECONDS) -> str:
        """What the driver printed, once it ended with ``code``."""
        end = time.monotonic() + seconds
        while (found := self.driver.poll()) is None:
            if time.monotonic() > end:
                self.driver.kill()  # or it would go on beside the next fault
                raise AssertionError(f"the driver did not end in {seconds:g} s:\n{self.said}")
            self._look()
            time.sleep(0.1)
        assert found == code, f"exit code {found}, not {code}:\n{self.said}"
        return self.said

    def finish(self, *more: str, code: int = 0) -> str:
        return self.start(*more).wait(code)

    def kill(self) -> None:
        """SIGKILL the driver, and nothing else."""
        self.kills += 1
        self._look(at_once=True)
        self.driver.kill()
        self.driver.wait()

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pids(self) -> set[int]:
        """What this driver and its processes started and that is alive, whether the driver is or not."""
        alive = {pid for pid, born in self._seen.items() if born is not None and processes.born(pid) == born}
        alive |= processes.below(self.driver.pid, *alive)
        self._seen |= {pid: processes.born(pid) for pid in alive - self._seen.keys()}
        return alive

    def _look(self, at_once: bool = False) -> None:
        """Remember the driver's processes: once it is dead, nothing says whose they were."""
        if at_once or time.monotonic() - self._looked > 0.5:
            self._looked = time.monotonic()
            self.pids  # noqa: B018 (looking is what notes them)

    def gone(self, seconds: float = SECONDS) -> float:
        """Wait until nothing is left of a driver that ended; returns the seconds it took."""
        began = time.monotonic()
        while left := self.pids:
            if time.monotonic() - began > seconds:
                names = [f"{pid} {processes.title(pid)[:90]}" for pid in sorted(left)]
                raise AssertionError(f"left behind {seconds:g} s after the driver's end:\n" + "\n".join(names))
            time.sleep(0.1)
        return time.monotonic() - began

    def log_in(self, folder: Path) -> Study:
        """Keep what the drivers print elsewhere than on the disk they are given."""
        self._results = folder
        return self

    def until(
        self, condition: Callable[[], Found | None], what: str, seconds: float = SECONDS, every: float = 0.02
    ) -> Found:
        """Poll until ``condition`` gives something; the driver must live as long."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if self.driver.poll() is not None:
                raise Ended(f"the driver ended before {what}:\n{self.said}")
            self._look()
            assert time.monotonic() < end, f"{what} did not come in {seconds:g} s:\n{self.said}"
            time.sleep(every)
        return found

    # --- the record

    @property
    def run_ids(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("runs/[!.]*/records.jsonl"))

    def lines(self, run: str) -> list[dict[str, Any]]:
        return self._complete(self.folder / "runs" / run / "records.jsonl")

    def decisions(self, *events: str) -> list[dict[str, Any]]:
        lines = self._complete(self.folder / "decisions.jsonl")
        return [line for line in lines if not events or line["event"] in events]

    def _complete(self, path: Path) -> list[dict[str, Any]]:
        """Read again only when it has changed: who waits for a moment asks a thousand times."""
        if not path.exists():
            return []
        found = path.stat()
        version = found.st_size, found.st_mtime_ns
        if path not in self._read or self._read[path][0] != version:
            self._read[path] = version, [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return list(self._read[path][1])

    @property
    def epochs(self) -> int:
        """Epochs on record, over all runs."""
        return sum(line["event"] == "epoch" for run in self.run_ids for line in self.lines(run))

    def trainer_of(self, run: str) -> int | None:
        """The process that writes a run's record."""
        return processes.holding(self.folder / "runs" / run / "records.jsonl", processes.below(os.getpid()))
