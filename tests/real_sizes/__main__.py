"""``make presets``: every preset at its published sizes, each in a process of its own; the table goes to measured.md.

A part of them: ``make presets PRESETS='cifar10_rot stl10_saccades'``. What was measured before stays in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer import presets
from trainer.config import split_sizes
from trainer.config.sets import pretraining_images

TABLE = Path(__file__).with_name("measured.md")
HEADER = """# Every preset at its published sizes

Written by `make presets`: images are generated in the published shape and number, the encoder is narrow (`conv`, width
4), and the epoch is a single step; everything else is as a run of the preset does it: start-up, one step of the real
batch, the probes of an epoch and of a rung on all images, and one evaluation chunk. `images` are those of pre-training
and those probes are scored on. Seconds are wall time of one process with one
thread{note}; memory is the process's peak, torch included.

| preset | images | batch | seconds | peak memory (MiB) |
|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make presets", description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once (default: 1)")
    parser.add_argument(
        "--note", help="about the machine, for the table (default: what the table says of earlier rows)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return _one(options.one)
    rows, failed = _rows(), []
    said = options.note if options.note is not None or not options.presets else _note()
    note = f" ({said})" if said else ""
    with ThreadPoolExecutor(options.jobs) as pool:
        for name, seconds, peak, error in pool.map(_measured, options.presets or presets.names()):
            rows[name] = _row(name, f"{seconds:.0f}" if not error else "FAILED", f"{peak:,}" if not error else "")
            print(f"{rows[name]}{'' if not error else f'  {error}'}", flush=True)
            failed += [name] if error else []
            TABLE.write_text(
                HEADER.format(note=note) + "\n".join(rows[key] for key in sorted(rows)) + "\n", encoding="utf-8"
            )
    print(f"{len(failed)} failed: {', '.join(failed)}" if failed else f"all of them run; {TABLE}")
    return 1 if failed else 0


def _one(name: str) -> int:
    """In a process of its own: rehearse and print what it took."""
    import torch

    from real_sizes.rehearsal import narrowed, rehearse

    torch.set_num_threads(1)
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rehearse(narrowed(name), Path(folder))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(json.dumps([time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit]))
    return 0


def _measured(name: str) -> tuple[str, float, int, str]:
    command = [sys.executable, "-m", "real_sizes", "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        return name, 0.0, 0, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    seconds, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return name, seconds, peak, ""


def _row(name: str, seconds: str, peak: str) -> str:
    config = presets.load(name)
    scored = split_sizes(config.data)[1 if config.data.select_on == "validation" else 2]
    return (
        f"| {name} | {pretraining_images(config.data):,} + {scored:,} | {config.optim.batch_size} | {seconds} |"
        f" {peak} |"
    )


def _note() -> str:
    """What the table says of the machine: rows that stay are still of it."""
    match = re.search(r"one\s+thread \(([^)]*)\)", TABLE.read_text(encoding="utf-8") if TABLE.exists() else "")
    return match[1] if match else ""


def _rows() -> dict[str, str]:
    """What was measured before, of the presets that there are."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    found = {match[1]: line for line in lines if (match := re.match(r"\| (\w+) \| [\d,]+ \+", line))}
    return {name: found[name] for name in presets.names() if name in found}


if __name__ == "__main__":
    sys.exit(main())
