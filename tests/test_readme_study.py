"""The study of one's own that the README shows: its very text, from a file elsewhere on disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
(TEXT,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
SHORT = (
    "--num-trials",
    "2",
    "--epochs",
    "2",
    "--seeds",
    "1",
    "--grace",
    "1",
    "schedule.horizon_epochs=2",
    "schedule.warmup_epochs=0",
    "data.sizes=[128,64,64]",
    "--wandb",
    "off",
    "--executor",
    "process",
)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    (folder / "my_study.py").write_text(TEXT, encoding="utf-8")
    command = [sys.executable, "my_study.py", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=500
    )


def test_it_is_short_and_plans(tmp_path):
    assert len(TEXT.splitlines()) <= 40
    done = run(tmp_path, "--quick", "--dry-run")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "lr: log-uniform 0.0005 to 0.01" in done.stdout and "verdict on clipping" in done.stdout


def test_its_text_runs_and_leaves_a_table(tmp_path):
    done = run(tmp_path, *SHORT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    table = pd.read_csv(tmp_path / "results" / "lr_clip_digits" / "report" / "table.csv")
    assert {"best", "unclipped", "shared", "untrained"} <= set(table["role"]) and {"lr", "clip"} <= set(table.columns)
    again = run(tmp_path, *SHORT, "--resume")
    started = "starting the first trials"
    assert again.returncode == 0 and started in done.stdout and started not in again.stdout
    wrong = run(tmp_path, "--resume", *SHORT, "optim.lr=0.1")
    assert (
        wrong.returncode == 2
        and wrong.stderr == "error: optim.lr: this study sets optim.lr itself for its arms; remove the override\n"
    )
