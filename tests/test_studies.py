"""Whole studies: reuse of trial processes, several workers, failures, refusals. In plain processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import SMALL

from trainer import presets
from trainer.record.identity import run_id
from trainer.record.run import comparable, read

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parent.parent
FEW = [*SMALL, "data.sizes=[128,64,64]"]  # processes, records and decisions do not depend on how many images there are
SETTINGS = [*FEW, "--across-commits", "--epochs", "3"]
PROCESS = ["--executor", "process"]


HANGS = 900
"""Seconds after which a study hangs: on a machine that others use too it takes many times its own half a minute."""


def study(script, results, *arguments, check=0):
    command = [
        sys.executable,
        str(ROOT / "studies" / script),
        "--results-dir",
        str(results),
        "--study",
        "s",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANGS
    )
    assert done.returncode == check, done.stdout
    return done.stdout


def runs(results):
    """Comparable records of every run, by run; resume events aside."""
    found = {}
    for path in sorted((results / "s" / "runs").glob("*/records.jsonl")):
        found[path.parent.name] = [comparable(line) for line in read(path) if line["event"] != "resume"]
    return found


def decisions(results, event):
    return [line for line in read(results / "s" / "decisions.jsonl") if line["event"] == event]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A complete small search study in reused trial processes, and what it printed."""
    results = tmp_path_factory.mktemp("study")
    out = study("step2_rate.py", results, "--num-trials", "4", "--seeds", "2", *SETTINGS, *PROCESS)
    return results, out


def test_a_study_ends_with_table_plot_and_verdict(finished):
    results, out = finished
    report = results / "s" / "report"
    names = {path.name for path in report.iterdir()}
    assert {"table.md", "table.csv", "table.parquet", "setting.png", "verdict.txt"} <= names
    assert out.count("n<3") == 1 and "python -m analysis" in out and "suggestions were model-based" in out
    assert "log-uniform 0.001 to 1" in (report / "verdict.txt").read_text()
    declared = json.loads((results / "s" / "study.json").read_text())["declared"]["contrasts"]
    keys = {line["key"] for line in decisions(results, "compare")}
    assert [one["question"] for one in declared] == ["coding rate, stopgrad", "coding rate, ema", "ema minus stopgrad"]
    assert {one[side] for one in declared for side in ("arm", "reference")} <= keys
    ends = decisions(results, "finish")
    assert len(ends) == 4 + 2 * (1 + 2 * 3) and all(line["state"] in ("complete", "pruned") for line in ends)
    for lines in runs(results).values():
        epochs = [line["epoch"] for line in lines if line["event"] == "epoch"]
        assert epochs == list(range(1, len(epochs) + 1))


def test_a_run_is_the_same_in_a_reused_and_in_a_fresh_process(finished, tmp_path):
    """A compared run of the study, again alone through the trainer's own command, which imports no more than it needs:
    torch's compiler takes as long as torch."""
    results, _ = finished
    ends = [line for line in decisions(results, "finish") if line["trial"] is None]
    chosen = ends[-1]  # late, so its process had trained several others
    lines = list(read(results / "s" / "runs" / chosen["run_id"] / "records.jsonl"))
    preset = tmp_path / "same.yaml"
    import yaml

    preset.write_text(yaml.safe_dump(lines[0]["config"]))
    command = [sys.executable, "-X", "importtime", "-m", "trainer", "--preset", str(preset), "--results-dir"]
    command += [str(tmp_path), "--study", "s", "--gate", "none"]
    imported = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ).stderr  # fmt: skip
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert "torch.optim.adam" in names
    assert names.isdisjoint({"torch._dynamo", "sympy", "torchvision", "timm", "ray", "optuna", "pandas"})
    alone = list(read(tmp_path / "s" / "runs" / chosen["run_id"] / "records.jsonl"))
    for theirs, ours in zip(lines, alone, strict=True):
        shared = theirs["metrics"].keys() & ours["metrics"].keys()  # the command also measures pixels at epoch 0
        assert shared == theirs["metrics"].keys()
        assert {name: ours["metrics"][name] for name in shared} == theirs["metrics"]


def test_a_complete_study_only_prints_its_table_again(finished):
    results, _ = finished
    before, started = runs(results), decisions(results, "start")
    out = study("step2_rate.py", results, "--num-trials", "4", "--seeds", "2", "--resume", *SETTINGS, *PROCESS)
    assert runs(results) == before and decisions(results, "start") == started and "Linear accuracy" in out


def test_other_settings_are_refused(finished):
    results, _ = finished
    out = study("step2_rate.py", results, "--num-trials", "4", "--seeds", "3", "--resume", *SETTINGS, check=2)
    assert "seeds = [0, 1], not [0, 1, 2]" in out


def test_a_cluster_that_does_not_exist_is_one_line(tmp_path):
    out = study("step2_grid.py", tmp_path, *SETTINGS, "--address", "127.0.0.1:1", check=2)
    assert "error: --address 127.0.0.1:1: no Ray cluster answers there" in out


def test_several_workers_without_ray(tmp_path):
    """The trainer under torchrun: two processes, one record."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "trainer"]
    command += ["--results-dir", str(tmp_path), "--study", "s", "--gate", "none", *SETTINGS]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    lines = next(iter(runs(tmp_path).values()))
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3]
    assert done.stdout.count("epoch    3") == 1


def test_a_run_that_fails_is_said_kept_apart_and_does_not_stop_the_study(tmp_path):
    """A run whose checkpoint cannot be read: the others go on, the exit code is 1, the traceback is kept."""
    shared = ["objective.teacher=shared", "objective.weights.rate=0", *FEW]
    broken = tmp_path / "s" / "runs" / run_id(presets.load("digits", shared))
    broken.mkdir(parents=True)
    (broken / "checkpoint.pt").write_bytes(b"rubbish")
    arguments = [
        "--quick",
        "--seeds",
        "1",
        *FEW,
        "--across-commits",
        "--epochs",
        "1",
        "--wandb",
        "offline",
        "--retries",
        "0",
        *PROCESS,
    ]
    out = study("step2_grid.py", tmp_path, *arguments, check=1)
    assert "FAILED" in out and "1 run failed and counts as not run" in out and str(tmp_path / "s" / "errors") in out
    assert "RecordError" in (tmp_path / "s" / "errors" / f"{broken.name}.txt").read_text()
    states = [line["state"] for line in decisions(tmp_path, "finish")]
    assert states.count("failed") == 1 and states.count("complete") == 8
    # the same study also mirrors to W&B without a network: every run, and the report's figures
    mirrored = [folder.name for folder in (tmp_path / "s" / "wandb" / "wandb").glob("offline-run-*")]
    assert len(mirrored) == 10 and sum(name.endswith("-report") for name in mirrored) == 1


def test_a_spent_budget_starts_nothing_and_says_how_to_go_on(tmp_path):
    arguments = ["--seeds", "1", *SETTINGS[:-1], "1", *PROCESS]
    budget = ["--budget-usd", "0.000001", "--usd-per-hour", "1"]
    out = study("../tests/faults/one_arm.py", tmp_path, *arguments, *budget, check=3)
    for said in ("--budget-usd 1e-06 is spent", "1 runs were not started", "--resume", "INCOMPLETE"):
        assert said in out
    assert decisions(tmp_path, "start") == [] and decisions(tmp_path, "session")[0]["budget"].startswith("--budget-usd")
    study("../tests/faults/one_arm.py", tmp_path, *arguments, "--resume", "--usd-per-hour", "1")
    assert len(decisions(tmp_path, "finish")) == 1
    assert "usd" in (tmp_path / "s" / "report" / "cost.csv").read_text().splitlines()[0]


def test_a_warm_start_takes_over_trials_and_runs(finished, tmp_path):
    """The same arms on the same seeds are not trained again; new trials follow what the earlier ones taught the
    sampler."""
    results, _ = finished
    arguments = [
        "--num-trials",
        "2",
        "--seeds",
        "2",
        "--top-k",
        "1",
        *SETTINGS,
        *PROCESS,
        "--warm-start",
        str(results / "s"),
    ]
    out = study("step2_rate.py", tmp_path, *arguments)
    assert "warm start: 4 trials" in out
    earlier = runs(results)
    shared = earlier.keys() & runs(tmp_path).keys()
    assert len(shared) >= 2 and all(runs(tmp_path)[name] == earlier[name] for name in shared)
    started = {line["name"] for line in decisions(tmp_path, "start")}
    assert not started & shared and {line["name"] for line in decisions(tmp_path, "finish")} & shared
    mine = [line["raw"] for line in decisions(tmp_path, "suggest")]
    assert not [raw for raw in mine if raw in [line["raw"] for line in decisions(results, "suggest")]]
