"""How many trials and reports per second does a study handle? Run by hand: ``python
tests/benchmarks/orchestration.py``.

The studies' own driver, searcher, scheduler, callbacks and records on a Ray started here, with one thing replaced: a
trial trains nothing and only reports its epochs. Trials of one epoch give trials/s, trials of many give reports/s. The
first trials
of a study are not counted: they start the processes that the others reuse. Under a minute.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console  # noqa: E402

from studies.engine.plan import Plan  # noqa: E402
from studies.engine.settings import Arm, Resources, Stopping  # noqa: E402
from studies.running.driver import run_study  # noqa: E402
from trainer.record.run import read  # noqa: E402
from trainer.workers import ray_worker  # noqa: E402


def nothing(task: dict[str, Any]) -> None:
    """A trial that reports its epochs and does nothing else."""
    from ray import tune

    for epoch in range(1, task["config"]["epochs"] + 1):
        tune.report({"epoch": epoch, "score": 1.0, "probe_epoch": epoch, "diverged": False, "pid": os.getpid()})


def ends(trials: int, epochs: int, concurrent: int, folder: Path) -> tuple[list[float], float]:
    """Times at which the jobs of a study ended, in order, and how long the study took with Ray's start and end;
    seconds."""
    ray_worker.trial = nothing
    plan = Plan(
        study="orchestration",
        folder=folder,
        preset="digits",
        overrides=["schedule.horizon_epochs=100000"],
        seeds=tuple(range(trials)),
        epochs=epochs,
        resources=Resources(cpus=1, gpus=0, workers=1, backend="local", concurrent=concurrent),
        arms=(Arm("grid", "grid", "nothing", {}),),
        stopping=Stopping(rule="none"),
    )
    start = time.perf_counter()
    complete, jobs = run_study(plan, None, Console(quiet=True), address=None, dashboard=False)
    whole = time.perf_counter() - start
    finished = [line for line in read(folder / "decisions.jsonl") if line["event"] == "finish"]
    if not complete or jobs.failed or [line["state"] for line in finished] != ["complete"] * trials:
        raise SystemExit(f"{len(finished)} of {trials} trials ended, {jobs.failed} failed: no speed is reported")
    return sorted(line["t"] for line in finished), whole


def rate(times: list[float], skipped: int) -> float:
    """Ends per second after the first ``skipped``."""
    return (len(times) - skipped) / (times[-1] - times[skipped - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="trials of one epoch (default: 200)")
    parser.add_argument("--long", type=int, default=10, help="trials of many epochs (default: 10)")
    parser.add_argument("--epochs", type=int, default=200, help="their epochs (default: 200)")
    parser.add_argument(
        "--concurrent", type=int, default=os.cpu_count() or 1, help="trials at once (default: one per core)"
    )
    options = parser.parse_args()
    skipped = 2 * options.concurrent
    if min(options.trials, options.long) < skipped + 2:
        rule = f"must be at least {skipped + 2}: the first {skipped} are not counted"
        parser.error(f"--trials {options.trials} and --long {options.long} {rule}")
    import ray

    machine = f"{os.cpu_count()} cores {platform.machine()}, ray {ray.__version__}"
    print(f"{machine}, {options.concurrent} trials at once, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        times, whole = ends(options.trials, 1, options.concurrent, Path(folder))
    halves = [rate(part, 1) for part in (times[skipped - 1 : len(times) // 2], times[len(times) // 2 :])]
    print(
        f"{rate(times, skipped):.1f} trials/s (n = {len(times) - skipped} of one epoch; first half {halves[0]:.1f},"
        f" second {halves[1]:.1f}); the first ended after {times[0]:.1f} s, all with Ray's start and end in"
        f" {whole:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        times, whole = ends(options.long, options.epochs, options.concurrent, Path(folder))
    print(
        f"{rate(times, skipped) * options.epochs:.0f} reports/s (n = {len(times) - skipped} trials of {options.epochs}"
        " epochs)"
    )


if __name__ == "__main__":
    main()
