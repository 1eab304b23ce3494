"""Does the fast path learn the same? bf16 against fp32 on digits, paired over seeds; fp64 against fp32 as the
yardstick.

Training is chaotic: runs that differ in the last bit drift apart, whatever the precision. So two figures are printed
for
each pair of precisions, on the same seeds: how far single runs drift, and how far the means over seeds do. The loss is
a difference (prediction minus lambda times rate) that passes near zero, hence distances are relative to the sum of its
parts.

Run by hand: ``python tests/benchmarks/fast_path.py [seeds]`` (about 40 seconds per seed on one core).
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from trainer import presets
from trainer.loop import train
from trainer.record.identity import run_id
from trainer.record.run import read


def curve(precision: str, seed: int, folder: Path) -> tuple[Tensor, Tensor, float]:
    """Per epoch the training loss and the size of its parts; the probed linear accuracy of the aggregate at the end."""
    run = presets.load("digits", [], {"precision": precision, "seed": seed, "runtime.across_commits": True})
    final = train(run, folder)
    lines = [line["metrics"] for line in read(folder / run_id(run) / "records.jsonl") if line["event"] == "epoch"]
    loss = torch.tensor([line["loss/total"] for line in lines], dtype=torch.float64)
    parts = torch.tensor(
        [abs(line["weighted/predict"]) + abs(line["weighted/rate"]) for line in lines], dtype=torch.float64
    )
    return loss, parts, final["score"]


def main(seeds: int = 5) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        runs = {p: [curve(p, seed, Path(name)) for seed in range(seeds)] for p in ("fp32", "bf16", "fp64")}
    print(f"digits, {seeds} seeds, {platform.processor() or platform.machine()}, torch {torch.__version__}")
    for other in ("bf16", "fp64"):
        pairs = list(zip(runs[other], runs["fp32"], strict=True))
        scale = torch.stack([plain[1] for _, plain in pairs])
        drift = (torch.stack([a[0] - b[0] for a, b in pairs]) / scale).abs().max()
        mean = (torch.stack([a[0] - b[0] for a, b in pairs]).mean(0) / scale.mean(0)).abs().max()
        gap = torch.tensor([a[2] - b[2] for a, b in pairs], dtype=torch.float64)
        spread = f" +- {float(gap.std()) / len(gap) ** 0.5:.2f} (s.e.)" if len(gap) > 1 else ""
        print(
            f"{other} - fp32: linear accuracy {float(gap.mean()):+.2f} points{spread}; loss of a run differs by at most"
            f" {100 * float(drift):.2f} % at any epoch, the mean over seeds by {100 * float(mean):.2f} %"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
