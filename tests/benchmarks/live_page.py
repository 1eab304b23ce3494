"""What the live page costs: a study of 1,000 trials x 100 epochs, and the share of a core beside a running one.

    python tests/benchmarks/live_page.py               # the large study: seconds an update takes
    python tests/benchmarks/live_page.py --soak 300    # the server beside 20 runs that add an epoch every two seconds
    python tests/benchmarks/live_page.py --soak 300 --trials 20 --epochs 9    # the same of a study that has just begun

An update is what the server does when four runs have added an epoch: read what is new, make text, tables and the data
of the curves again. Figures have seconds of their own, as they are drawn once a minute. The soak is a server of its
own, looked at by one browser's stream of events; its processor seconds are the operating system's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

from tabulation import TRAINED, write_run  # noqa: E402

METRIC = "linacc/z_agg@3"
UPDATES = 9
RUNNING = 4 * UPDATES


def searching(folder: Path, trials: int, epochs: int) -> list[Path]:
    """A study in the middle of its search; returns the records of its runs."""
    folder.mkdir(parents=True)
    info = {"study": "large", "seeds": [1, 2, 3, 4], "epochs": 100, "search_seed": 1000}
    (folder / "study.json").write_text(json.dumps(info | {"ranges": {"weights.rate": "log-uniform 0.001..1"}}))
    draw, files = random.Random(0), []
    with (folder / "decisions.jsonl").open("w") as file:
        for number in range(trials):
            name, rate = f"t{number:04d}", 10 ** draw.uniform(-3, 0)
            who = {"trial": number, "name": name, "run_id": name, "arm_id": name}
            asked = {"params": {"weights.rate": rate}, "source": "tpe", "label": f"λ={rate:.3g}"}
            value = draw.uniform(30, 60)
            done = {"epoch": epochs, "value": value, "objectives": {"linacc": value}, "state": "complete"}
            events = [{"event": "suggest", **who, **asked}, {"event": "finish", **who, **done}]
            file.writelines(json.dumps(line) + "\n" for line in (events if number >= RUNNING else events[:1]))
            write_run(folder / "runs" / name, name, name, 1000, epochs, draw)
            files.append(folder / "runs" / name / "records.jsonl")
    return files


def add_epoch(file: Path, epoch: int) -> None:
    """One more measurement of a run."""
    common = {
        "schema_version": 1,
        "study": "large",
        "run_id": file.parent.name,
        "arm_id": file.parent.name,
        "seed": 1000,
    }
    where = {"attempt": 1, "step": 17 * epoch, "samples_seen": 1088 * epoch, "epoch": epoch, "probe_epoch": epoch}
    value = random.uniform(30, 60)
    lines = [
        {"event": "epoch", **where, "split": "train", "lr": 0.001, "metrics": dict.fromkeys(TRAINED, 0.5)},
        {"event": "eval", **where, "split": "validation", "seconds": {"train": 0.35}, "metrics": {METRIC: value}},
    ]
    with file.open("a") as records:
        records.writelines(json.dumps(common | line) + "\n" for line in lines)


def updates(folder: Path, files: list[Path], epochs: int) -> None:
    """In this process: seconds of the first look, of the updates without figures, and of one with them."""
    from analysis.page.live import watch

    watched = watch.Watched("1", folder)
    begun = time.process_time()
    watched.refresh(now := time.time())
    print(f"first look, figures included: {time.process_time() - begun:.1f} s of a core")
    if watched.error:
        sys.exit(watched.error)
    took = []
    for number in range(UPDATES):
        for file in files[4 * number : 4 * number + 4]:
            add_epoch(file, epochs + 1)
        begun = time.process_time()
        watched.refresh(now + number + 1)
        took.append(time.process_time() - begun)
    print(f"an update: median {statistics.median(took):.2f} s of a core, at most {max(took):.2f} ({UPDATES} updates)")
    add_epoch(files[0], epochs + 2)
    begun = time.process_time()
    watched.refresh(now + watch.FIGURE_SECONDS + 20)
    print(f"with figures: {time.process_time() - begun:.1f} s of a core")


def soak(folder: Path, seconds: float, trials: int, epoch: int) -> None:
    """A server beside a study of which 20 runs go on."""
    files = searching(folder / "large", trials, epoch)[:20]
    from analysis.page.live.server import key_of

    words = [sys.executable, "-m", "analysis", "live", str(folder), "--port", "0"]
    server = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        address = next(hit[0] for line in server.stdout if (hit := re.search(r"http://127\S+", line)))
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        browser.open(address).close()
        events = f"{address.partition('?')[0].rstrip('/')}/s/{key_of(folder / 'large')}/events"
        heard = [0]

        def listen() -> None:
            with browser.open(events) as stream:
                for line in stream:
                    heard[0] += line.startswith(b"event: parts")

        threading.Thread(target=listen, daemon=True).start()
        time.sleep(10)
        before, begun, first = _processor_seconds(server.pid), time.monotonic(), epoch
        while time.monotonic() - begun < seconds:
            epoch += 1
            for file in files:
                add_epoch(file, epoch)
                time.sleep(2 / len(files))
        used, passed = _processor_seconds(server.pid) - before, time.monotonic() - begun
        status = Path(f"/proc/{server.pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        print(f"{passed:.0f} s, {epoch - first} epochs of {len(files)} runs: {100 * used / passed:.1f} % of a core,")
        print(f"peak {peak:.0f} MiB, {heard[0]} changes told to the browser")
    finally:
        server.terminate()
        server.wait(20)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=99)
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.soak:
            soak(folder, options.soak, options.trials, options.epochs)
        else:
            updates(folder / "large", searching(folder / "large", options.trials, options.epochs), options.epochs)


if __name__ == "__main__":
    main()
