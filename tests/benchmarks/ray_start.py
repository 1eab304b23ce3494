"""From the command to the first epoch on record with Ray: seconds, and processor seconds by kind of process. Run by
hand: ``python tests/benchmarks/ray_start.py``, or with ``--against OTHER_CHECKOUT`` for both sides in turn.

A study of two trials of two epochs; on a busy machine the processor seconds say more. Half a minute a start.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import processes  # noqa: E402
from small import SMALL  # noqa: E402

WORDS = "--study s --num-trials 2 --epochs 2 --stopping none --no-verdict --wandb off --across-commits"
KINDS = ("gcs_server", "/raylet", "log_monitor.py", "monitor.py", "dashboard.py", "default_worker", "ray::")


def kind(pid: int, driver: int) -> str:
    title = processes.title(pid).partition(" --")[0]
    if pid == driver or not title:
        return "driver" if pid == driver else "other"
    return title if title.startswith("ray::") else next((name for name in KINDS if name in title), "other")


def start(root: Path) -> tuple[float, float, Counter[str]]:
    """Seconds to the first epoch, seconds to the end, and processor seconds to the first epoch."""
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as place:
        command = [sys.executable, str(root / "studies" / "step2_rate.py"), "--results-dir", place, *WORDS.split()]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "TMPDIR": place}
        used: dict[int, tuple[str, float]] = {}
        began, first = time.perf_counter(), None
        with subprocess.Popen([*command, *SMALL], env=environment, stdout=subprocess.DEVNULL) as driver:
            while driver.poll() is None:
                if first is None:
                    for pid in processes.below(driver.pid) | {driver.pid}:
                        used[pid] = kind(pid, driver.pid), processes.computed(pid) or 0.0
                    records = Path(place).glob("s/runs/*/records.jsonl")
                    if any(b'"event":"epoch"' in path.read_bytes().replace(b" ", b"") for path in records):
                        first = time.perf_counter() - began
                time.sleep(0.05)
        if driver.returncode or first is None:
            raise SystemExit(f"the study ended with {driver.returncode}: no figure is reported")
        by_kind: Counter[str] = Counter()
        for name, seconds in used.values():
            by_kind[name] += seconds
        return first, time.perf_counter() - began, by_kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--times", type=int, default=5, help="starts of each (default: 5)")
    options = parser.parse_args()
    roots = [ROOT, *([options.against.resolve()] if options.against else [])]
    found: dict[Path, list[tuple[float, float, Counter[str]]]] = {root: [] for root in roots}
    for _ in range(options.times):
        for root in roots:
            found[root].append(start(root))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {options.times}")
    for root, starts in found.items():
        first, whole, used = zip(*starts, strict=True)
        total = statistics.median(sum(kinds.values()) for kinds in used)
        until, end = statistics.median(first), statistics.median(whole)
        print(f"{root}: first epoch after {until:.1f} s and {total:.1f} processor seconds, end after {end:.1f} s")
        for name in sorted({name for kinds in used for name in kinds}):
            print(f"  {statistics.median(kinds[name] for kinds in used):5.2f}  {name}")


if __name__ == "__main__":
    main()
