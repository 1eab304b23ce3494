"""All faults, each many times: ``python -m faults.matrix [--times N] [WORD ...]`` runs those whose name holds one of
the words.

Prints a table and ends with exit code 1 if anything went wrong. 35 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from interruptible import interruptible
from rich.console import Console
from rich.table import Table
from small import SMALL

from faults import compare, kills, moments, processes, redecide
from faults.kills import Outcome
from faults.study import ONE_ARM, ROOT, SHORT, STOPPED, Study

# not deterministic, and long enough that the sampler's model proposes
DEFAULT = ["--num-trials", "14", "--epochs", "4", "--grace", "2", "--seeds", "1", "--top-k", "1", *SMALL]
WORKERS = [
    "--workers-per-trial",
    "2",
    "--epochs",
    "5",
    "--seeds",
    "1",
    "--probe-epochs",
    "1,2,3,4",
    *SMALL[1:],
    "model.encoder.width=32",
]
STOPS = ["--workers-per-trial", "2", "--epochs", "2", "--grace", "1", "--collapse-rank", "1e5", "--seeds", "1"]


class Matrix:
    """The faults, and the studies that nothing happened to, each run when it is first needed.

    Args:
        times: kills of each kind, and trials stopped in a row.
    """

    def __init__(self, folder: Path, times: int):
        self._folder, self._times = folder, times
        self._references: dict[str, Study] = {}

    def faults(self) -> dict[str, Callable[[Path], Outcome]]:
        killed = {
            f"{who} killed, {mode}": partial(self._killed, kill, mode)
            for mode in ("deterministic", "default")
            for who, kill in (("driver", kills.drivers), ("trial", kills.trials))
        }
        of_two = {
            f"2 workers: {what}": partial(self._two_workers, strike)
            for what, strike in {
                "rank 0 killed in an epoch and while saving": _rank_0,
                "another rank killed": partial(_other, "RayTrainWorker"),
                "the waiting trial killed": partial(_other, "ImplicitFunc"),
                "the waiting trial killed before its first report": _starting,
                "the controller killed": partial(_other, "TrainController"),
                "rank 0 hung": _hung,
                "driver killed": _driver,
            }.items()
        }
        stopped = {
            f"2 workers: trials stopped, dashboard {word}": partial(_stopped, self._times, word == "on")
            for word in ("off", "on")
        }
        return {**killed, **of_two, **stopped, "all others (tests/test_faults*.py)": _tests}

    def _reference(self, name: str, *arguments: str, **settings: Path) -> Study:
        if name not in self._references:
            study = Study(self._folder / f"uninterrupted {name}", *arguments, **settings)
            study.finish()
            self._references[name] = study
        return self._references[name]

    def _killed(self, kill: Callable[..., Outcome], mode: str, folder: Path) -> Outcome:
        if mode == "deterministic":
            reference = self._reference("deterministic", *SHORT)
            return kill(
                lambda where: Study(where, *SHORT),
                folder,
                self._times,
                lambda outcome, study: outcome.take(study, reference),
            )

        def judge(outcome: Outcome, study: Study) -> None:
            outcome.take(study, None)
            outcome.problems += redecide.differences(study, DEFAULT, folder / f"again-{outcome.times}")

        return kill(lambda where: Study(where, *DEFAULT), folder, self._times, judge)

    def _two_workers(self, strike: Callable[[Study, Outcome], None], folder: Path) -> Outcome:
        reference = self._reference("two workers", *WORKERS, script=ONE_ARM)
        study, outcome = (
            Study(folder, *WORKERS, "--retries", "10", "--hang-minutes", "1", script=ONE_ARM).start(),
            Outcome(),
        )
        strike(study, outcome)
        study.wait()
        outcome.take(study, reference)
        study.gone()
        return outcome


def _rank_0(study: Study, outcome: Outcome) -> None:
    for moment in (moments.mid_epoch, moments.checkpoint_write) * 2:
        processes.kill(moment(study, least=outcome.times // 2 + 1).pid)
        outcome.times += 1


def _other(name: str, study: Study, outcome: Outcome) -> None:
    for least in (1, 2, 3):
        caught = moments.mid_epoch(study, least=least)
        victim = next(pid for pid in processes.named(name, study.pids) if pid != caught.pid)
        processes.kill(victim)
        processes.thaw(caught.pid)
        outcome.times += 1
        study.until(lambda: processes.born(caught.pid) is None, "the other processes of the trial had ended")


def _starting(study: Study, outcome: Outcome) -> None:
    for _ in range(3):
        processes.kill(moments.starting(study))
        outcome.times += 1
        study.until(lambda: len(study.decisions("fail")) == outcome.times, "the loss was noted")


def _hung(study: Study, outcome: Outcome) -> None:
    caught = moments.mid_epoch(study)
    study.until(lambda: processes.born(caught.pid) is None, "the hung worker was killed")
    outcome.times += 1
    outcome.problems += [] if "raise --hang-minutes" in study.said else ["the watchdog did not say what to do"]


def _driver(study: Study, outcome: Outcome) -> None:
    for moment in (moments.mid_epoch, moments.checkpoint_write) * 2:
        moment(study, least=outcome.times // 2 + 1)
        study.kill()
        outcome.times += 1
        study.start()


def _stopped(times: int, dashboard: bool, folder: Path) -> Outcome:
    study = Study(folder, *STOPS, "--num-trials", f"{times}", *SMALL, script=STOPPED)
    study.start(*(["--dashboard"] if dashboard else [])).wait(seconds=120 * times)
    left = study.gone()
    ends, seconds = study.decisions("finish"), sorted(compare.start_ups(study))
    states = [line["state"] for line in ends]
    note = (
        f"start-up per trial {seconds[0]:.1f} to {seconds[-1]:.1f} s, median {seconds[len(seconds) // 2]:.1f}; all gone"
        f" after {left:.1f} s"
    )
    return Outcome(len(ends), [] if states == ["collapsed"] * times else [f"trials ended as {states}"], note=note)


def _tests(folder: Path) -> Outcome:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        f"--basetemp={folder}",
        *map(str, sorted((ROOT / "tests").glob("test_faults*.py"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    return Outcome(1, [] if done.returncode == 0 else [done.stdout[-3000:]], note=done.stdout.strip().splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    """Do the faults asked for, one after the other."""
    options = argparse.ArgumentParser(prog="python -m faults.matrix", description=__doc__.splitlines()[0])
    options.add_argument(
        "--times", type=int, default=20, help="kills of each kind, and trials stopped in a row (default: 20)"
    )
    options.add_argument("words", nargs="*", help="only faults whose name holds one of these")
    given = options.parse_args(argv)
    interruptible()
    console = Console(width=None if sys.stdout.isatty() else 150)
    shown = Table("fault", "times", "result", "epochs trained again", "seconds", "note")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        for fault, run in Matrix(Path(name), given.times).faults().items():
            if given.words and not any(word in fault for word in given.words):
                continue
            began = time.monotonic()
            try:
                outcome = run(Path(name) / f"{len(shown.rows)}")
            except Exception:  # one fault that cannot even be done must not hide the others
                outcome = Outcome(problems=[traceback.format_exc()])
            failed += bool(outcome.problems)
            seconds = f"{time.monotonic() - began:.0f}"
            shown.add_row(
                fault,
                f"{outcome.times}",
                "FAILED" if outcome.problems else "same",
                f"{outcome.retrained}",
                seconds,
                outcome.note,
            )
            console.print(
                f"{fault}: {outcome.times} times, {seconds} s",
                *outcome.problems,
                sep="\n  ",
                markup=False,
                highlight=False,
            )
    console.print(shown)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
