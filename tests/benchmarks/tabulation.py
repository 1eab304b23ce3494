"""How long ``python -m analysis`` takes for large studies, and how it grows with the number of arms.

    python tests/benchmarks/tabulation.py                     # 42, 84 and 167 arms x 20 seeds x 30 epochs (100,200
    epoch records) python tests/benchmarks/tabulation.py --arms 50

Writes records with the fields and metrics of a digits run, then measures, in a process of its own: reading the records,
the numbers (tables, differences, sentences), all of ``report`` with files and figures, and peak memory. Seconds are
processor time of one core, which a busy machine lengthens less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LIVE = ("predict_live/z_hat@3", "rank_pr_live/z@3", "rank_sv_live/z@3", "rankme_live/z@3", "rank_pr_live/z_agg@3",
    "rank_sv_live/z_agg@3",
        "rankme_live/z_agg@3", "linacc_live/z_agg@3", "linacc_live/z_1@1", "linacc_live/z_mean@3",
        "online_linacc_live/z_agg@3")  # fmt: skip
PROBED = ("predict/z_hat@3", "rank_pr/z@3", "rank_sv/z@3", "rankme/z@3", "rank_pr/z_agg@3", "rank_sv/z_agg@3",
    "rankme/z_agg@3",
          "linacc/z_agg@3", "linacc/z_1@1", "linacc/z_mean@3", "linacc/z_agg@1",
          "r2_action.feature_std/z_pair@2")  # fmt: skip
TRAINED = (
    "term/predict",
    "term/rate",
    "weighted/predict",
    "weighted/rate",
    "rate_nats/agg",
    "rate_utilisation/agg",
    "loss/total",
)
RUNGS = (4, 12)


def write_study(folder: Path, arms: int, seeds: int, epochs: int) -> None:
    """A grid: every arm but the first compared with the first."""
    folder.mkdir(parents=True)
    info = {"study": "large", "seeds": list(range(seeds)), "epochs": epochs, "search_seed": 1000, "ranges": {}}
    (folder / "study.json").write_text(json.dumps(info))
    draw = random.Random(0)
    with (folder / "decisions.jsonl").open("w") as file:
        for number in range(arms):
            arm_id = f"{number:010x}"
            runs = [f"{arm_id}-s{seed}" for seed in range(seeds)]
            line = {
                "event": "compare",
                "key": f"arm{number}",
                "arm_id": arm_id,
                "role": "grid" if number else "lambda0",
                "teacher": "stopgrad",
            }
            line |= {
                "label": f"stopgrad λ={number / 1000:g}",
                "lambda_rate": number / 1000,
                "reference": f"{0:010x}" if number else None,
            }
            line |= {"peer": None, "runs": runs, "seeds": list(range(seeds)), "search_value": None, "place": None}
            file.write(json.dumps(line) + "\n")
            for seed, run_id in enumerate(runs):
                write_run(folder / "runs" / run_id, run_id, arm_id, seed, epochs, draw)


def write_run(folder: Path, run_id: str, arm_id: str, seed: int, epochs: int, draw: random.Random) -> None:
    folder.mkdir(parents=True)
    common = {"schema_version": 1, "study": "large", "run_id": run_id, "arm_id": arm_id, "seed": seed, "attempt": 1}
    lines = []
    for epoch in range(epochs + 1):
        where = {"step": 17 * epoch, "samples_seen": 1088 * epoch, "epoch": epoch, "probe_epoch": epoch}
        if epoch:
            lines.append(
                {
                    "event": "epoch",
                    **where,
                    "split": "train",
                    "lr": 0.001,
                    "metrics": {name: draw.random() for name in TRAINED},
                }
            )
        names = (*LIVE, *PROBED) if epoch in (0, *RUNGS, epochs) else LIVE
        metrics = {name: draw.randrange(300, 900) / 12 if "linacc" in name else draw.random() * 20 for name in names}
        lines.append({"event": "eval", **where, "split": "validation", "seconds": {"train": 0.35, "probes": 0.02},
                      "core_seconds": {"train": 0.35, "probes": 0.02}, "metrics": metrics})  # fmt: skip
    lines[0] |= {
        "config": {"data": {"observed_views": 3}, "epochs": epochs},
        "provenance": {"commit": "a" * 40, "dirty": False},
    }
    lines.append({"event": "stop", **where, "split": None, "reason": "completed", "gate": None, "metrics": {}})
    (folder / "records.jsonl").write_text(
        "".join(json.dumps(common | line, separators=(",", ":")) + "\n" for line in lines)
    )


def measure(folder: Path) -> dict[str, float]:
    """In this process: processor seconds of each part, and peak memory in GB."""
    from rich.console import Console

    from analysis.recorded.study import load
    from analysis.report import report
    from analysis.sentences.verdict import sentences
    from analysis.statistics.comparison_table import comparison_table
    from analysis.statistics.cost import cost

    marks = [time.process_time()]
    study = load(folder)
    marks.append(time.process_time())
    spent = cost(study)
    sentences(study, comparison_table(study, spent), spent)
    marks.append(time.process_time())
    with open(os.devnull, "w") as nowhere:
        report(folder, Console(file=nowhere, width=120))
    marks.append(time.process_time())
    read, numbers, everything = (after - before for before, after in zip(marks, marks[1:], strict=False))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"read": read, "numbers": numbers, "all with figures": everything, "peak GB": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", default="42,84,167")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--measure", type=Path, help="a study on disk; prints its figures as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, one used")
    for arms in map(int, options.arms.split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "large"
            write_study(folder, arms, options.seeds, options.epochs)
            command = [sys.executable, __file__, "--measure", str(folder)]
            limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
            done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            shown = ", ".join(
                f"{name} {value:.2f}{'' if name.endswith('GB') else ' s'}" for name, value in found.items()
            )
            per_arm = 1000 * (found["read"] + found["numbers"]) / arms
            print(
                f"{arms:4d} arms x {options.seeds} x {options.epochs}: {shown}; read and numbers {per_arm:.0f} ms"
                " per arm",
                flush=True,
            )


if __name__ == "__main__":
    main()
