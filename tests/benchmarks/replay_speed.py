"""How fast is the replay, and how much memory does it take? Run by hand: ``python tests/benchmarks/replay_speed.py``.

10,000 trials on 1,000 simulated GPUs with start-up, failures and preemptions, resampled with noise from 27 made-up
curves of 30 epochs: decisions per second of the simulation (ASHA through ``studies.engine.halving``), and the peak of
the memory it allocates at several sizes; then the same for reading records. Half a minute.
"""

from __future__ import annotations

import json
import math
import platform
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from studies.replay.curves import Curve, Recorded, read_curves
from studies.replay.schedulers import strategies
from studies.replay.simulate import Machine, simulate
from studies.replay.trials import NOISE, Pool

ARMS, EPOCHS, TRIALS, GPUS = 27, 30, 10_000, 1_000


def made_up() -> Recorded:
    """Saturating curves with different ends, speeds and noise."""
    random = np.random.default_rng(0)
    curves = []
    for arm in range(ARMS):
        end, speed = random.uniform(50, 80), random.uniform(3, 12)
        values = {e: end - 30 * math.exp(-e / speed) + random.normal(0, 0.5) for e in range(EPOCHS + 1)}
        curves.append(Curve(f"a{arm}-s0", f"a{arm}", 0, values, EPOCHS, False, 20.0))
    return Recorded(curves, EPOCHS, "made up")


def main() -> None:
    pool, machine = Pool(made_up()), Machine(GPUS, startup=12, checkpoint_every=1, failures=0.05, preemptions=0.5)
    print(f"{platform.machine()}, Python {platform.python_version()}; {TRIALS} trials on {GPUS} simulated GPUs")
    for grace in (10, 3, 1):
        asha = strategies(EPOCHS, ("asha",), (3,), (grace,), (), ())[1]
        drawn = pool.resample(np.random.default_rng(1), TRIALS, NOISE * pool.spread)
        wall, core = time.perf_counter(), time.process_time()
        outcome = simulate(drawn, asha.make(drawn), machine, "0")
        wall, core = time.perf_counter() - wall, time.process_time() - core
        print(
            f"{asha.name:<24} {outcome.decisions} decisions in {wall:.1f} s ({core:.1f} s of processor): "
            f"{outcome.decisions / wall:.0f} per second; "
            f"{outcome.epochs} epochs, {outcome.preemptions} preemptions, {outcome.failures} failures"
        )
    for number in (TRIALS // 4, TRIALS // 2, TRIALS):
        tracemalloc.start()
        drawn = pool.resample(np.random.default_rng(1), number, 1.0)
        simulate(drawn, asha.make(drawn), machine, "0")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"memory of {number:>6} trials: {peak / 2**20:6.1f} MiB, {peak / number:.0f} bytes each")
    for number in (500, 1000, 2000):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "records.jsonl", number)
            size = (Path(folder) / "records.jsonl").stat().st_size
            tracemalloc.start()
            start = time.perf_counter()
            read_curves([Path(folder)])
            seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        print(
            f"reading {number:>6} runs, {size / 2**20:5.1f} MiB: peak {peak / 2**20:6.1f} MiB, "
            f"{seconds:.1f} s under the memory tracer"
        )


def write(path: Path, runs: int) -> None:
    """One file with the records of many runs."""
    with path.open("w") as file:
        for run in range(runs):
            common = {
                "schema_version": 1,
                "run_id": f"a{run}-s0",
                "arm_id": f"a{run}",
                "seed": 0,
                "config": {"data": {"observed_views": 3}},
            }
            for epoch in range(EPOCHS + 1):
                metrics = {"linacc/z_agg@3": run + epoch, **{f"other/{number}": 0.5 for number in range(20)}}
                line = {
                    **common,
                    "event": "eval",
                    "split": "validation",
                    "epoch": epoch,
                    "metrics": metrics,
                    "seconds": {"train": 1.0},
                }
                file.write(json.dumps(line) + "\n")
            file.write(
                json.dumps(
                    {**common, "event": "stop", "epoch": EPOCHS, "split": None, "reason": "completed", "metrics": {}}
                )
                + "\n"
            )


if __name__ == "__main__":
    main()
