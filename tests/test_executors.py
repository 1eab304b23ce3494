"""Plain processes as the executor of a study: what its face promises, and what of it only Ray can do."""

import os
import signal
import subprocess
import sys
import time

import pytest
from faults import processes
from faults.study import ROOT, Study
from small import SMALL

from studies import step2_rate
from studies.executors.gpu_slots import gpu_slots, visible_gpus
from studies.executors.process import ProcessExecutor
from studies.executors.worker_process import WorkerProcess
from trainer import presets
from trainer.errors import UsageError
from trainer.record.identity import run_id
from trainer.record.run import read
from trainer.redaction import marks

SECRET = "marker-0123456789-secret"


def task(folder, seed=0, *overrides):
    config = presets.load(
        "digits",
        [*SMALL, *overrides],
        {"epochs": 3, "seed": seed, "runtime.across_commits": True, "runtime.device": "cpu"},
    )
    common = {
        "label": "x",
        "role": "search",
        "study": "s",
        "gate": None,
        "baselines": False,
        "wandb": "off",
        "tensorboard": False,
        "share": 0.0,
    }
    return {
        "name": run_id(config),
        "config": config.model_dump(mode="json"),
        "runs": str(folder),
        "secrets": marks([SECRET]),
        "mirror_environment": None,
        **common,
    }


@pytest.fixture
def executor(tmp_path):
    made = ProcessExecutor([None], 1, os.environ, lambda text: text.replace(SECRET, "[hidden]"), tmp_path / "vmstat")
    yield made
    made.close()


def heard(executor, seconds=120):
    """The next event."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for event in executor.events():
            return event
    raise AssertionError("nothing happened")


def epochs(folder, name):
    return [line["epoch"] for line in read(folder / name / "records.jsonl") if line["event"] == "epoch"]


def test_a_process_serves_trial_after_trial_and_stops_one_at_its_report(executor, tmp_path):
    runs, pids = tmp_path / "runs", set()
    for seed, stop_at in ((0, 1), (1, 3)):
        one = task(runs, seed)
        assert executor.room(0) and not executor.room(1)
        executor.start(one)
        assert heard(executor).what == "start"
        while (event := heard(executor)).what == "epoch":
            pids.add(event.result["pid"])
            if event.result["epoch"] == stop_at:
                time.sleep(0.3)  # it waits for the answer
                assert epochs(runs, one["name"])[-1] == stop_at
                executor.stop(one["name"])
        assert (event.what, event.name, event.result["epoch"]) == ("end", one["name"], stop_at)
        assert epochs(runs, one["name"]) == list(range(1, stop_at + 1))
        assert not [line for line in read(runs / one["name"] / "records.jsonl") if line["event"] == "error"]
    assert len(pids) == 1 and os.getpid() not in pids


def test_a_failure_is_told_without_secrets_and_the_next_trial_has_a_new_process(executor, tmp_path):
    runs = tmp_path / SECRET  # so that the message has it
    one = task(runs)
    (runs / one["name"]).mkdir(parents=True)
    (runs / one["name"] / "checkpoint.pt").write_bytes(b"rubbish")
    executor.start(one)
    event = [heard(executor) for _ in range(2)][-1]
    assert (event.what, event.kind, event.refused) == ("failed", "failed", None) and "RecordError" in event.trace
    for text in (event.reason, event.trace):
        assert SECRET not in text and "[hidden]" in text
    executor.start(task(runs, 1))
    assert [heard(executor).what for _ in range(2)] == ["start", "epoch"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_trial_is_a_failure_that_says_how_it_died(executor, tmp_path, number):
    executor.start(task(tmp_path / "runs"))
    assert heard(executor).what == "start"
    pid = heard(executor).result["pid"]
    os.kill(pid, number)
    event = heard(executor)
    assert (event.what, event.kind, event.reason) == ("failed", "failed", f"its process was ended by {number.name}")
    assert event.result["epoch"] == 1 and executor.resources() == ({"CPU": 1}, {"CPU": 1})


def test_a_process_that_the_system_kills_for_want_of_memory_is_said_to_be(executor, tmp_path):
    (tmp_path / "vmstat").write_text("nr_free 1\noom_kill 4\n")
    executor._oom_kills = executor._oom_count()
    executor.start(task(tmp_path / "runs"))
    assert heard(executor).what == "start"
    pid = heard(executor).result["pid"]
    (tmp_path / "vmstat").write_text("nr_free 1\noom_kill 5\n")
    os.kill(pid, signal.SIGKILL)
    event = heard(executor)
    assert event.kind == "out_of_memory" and "lower --max-concurrent" in event.reason


def test_a_silent_trial_is_stopped_by_killing_it(executor, tmp_path):
    executor.start(task(tmp_path / "runs"))
    assert heard(executor).what == "start"
    pid = next(iter(executor._workers.values()))._process.pid
    assert processes.freeze(pid)
    executor.stop(next(iter(executor._busy.values())))
    event = heard(executor)
    assert event.what == "failed" and processes.born(pid) is None


def test_what_a_process_last_printed_is_kept_without_secrets(monkeypatch):
    monkeypatch.setattr(
        "studies.executors.worker_process._PROGRAM", f"print('loading {SECRET}', flush=True); import os; os._exit(7)"
    )
    executor = ProcessExecutor([None], 1, os.environ, lambda text: text.replace(SECRET, "[hidden]"))
    executor.start({"name": "t0"})
    event = [heard(executor) for _ in range(2)][-1]
    assert event.reason == "its process ended with exit code 7" and event.trace.startswith("loading [hidden]")
    executor.close()


def test_a_training_process_has_one_thread_its_gpus_and_ends_when_the_driver_goes_away():
    worker = WorkerProcess({"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "0,3"}, "3", 1)
    pid = worker._process.pid
    deadline = time.monotonic() + 60
    # empty for a moment: the kernel has begun its program, no more
    while not (given := processes.environment(pid)):
        assert time.monotonic() < deadline
    environment = given.split(b"\0")
    assert b"OMP_NUM_THREADS=1" in environment and b"CUDA_VISIBLE_DEVICES=3" in environment
    worker._channel.close()
    assert worker._process.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("concurrent", "gpus", "visible", "places"),
    [
        (3, 0, [], [None, None, None]),
        (2, 1, ["0", "1"], ["0", "1"]),
        (4, 0.5, ["0", "1"], ["0", "1", "0", "1"]),
        (2, 0.3, ["5"], ["5", "5"]),
        (2, 2, ["0", "1", "2"], ["0,1"]),
    ],
)
def test_every_place_has_gpus_of_its_own(concurrent, gpus, visible, places):
    assert gpu_slots(concurrent, gpus, visible) == places


def test_hidden_gpus_are_not_used(tmp_path):
    for number in (0, 1):
        (tmp_path / f"nvidia{number}").touch()
    (tmp_path / "nvidiactl").touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"] and visible_gpus({"CUDA_VISIBLE_DEVICES": "4,7"}, tmp_path) == [
        "4",
        "7",
    ]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    with pytest.raises(UsageError, match="--gpus-per-trial 0.5: CUDA_VISIBLE_DEVICES leaves 0 GPU"):
        gpu_slots(2, 0.5, [])


@pytest.mark.parametrize(
    "words",
    [["--address", "auto"], ["--workers-per-trial", "2"], ["--backend", "ray-train"], ["--dashboard"]],
    ids=lambda words: words[0],
)
def test_what_needs_ray_is_refused_in_one_line(tmp_path, capsys, words):
    assert step2_rate.main(["--results-dir", str(tmp_path), "--executor", "process", *words]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith(f"error: {' '.join(words)}: needs Ray")
        and said.count("\n") == 1
        and not list(tmp_path.iterdir())
    )


def test_the_plan_says_who_executes(tmp_path, capsys):
    for words, said in ((["--executor", "process"], "1 worker (a plain process)"), ([], "1 worker (local)")):
        assert step2_rate.main(["--results-dir", str(tmp_path), "--dry-run", *words]) == 0
        assert said in capsys.readouterr().out


def test_a_study_in_plain_processes_never_imports_ray(tmp_path):
    (tmp_path / "ray.py").write_text("raise RuntimeError('ray was imported')\n")
    words = [
        "--executor",
        "process",
        "--results-dir",
        str(tmp_path),
        "--study",
        "s",
        "--across-commits",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--wandb",
        "off",
        *SMALL,
    ]
    command = [sys.executable, str(ROOT / "tests" / "faults" / "one_arm.py"), *words]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_reaches_a_training_process_and_nothing_is_left_of_a_killed_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRET)
    study = Study(
        tmp_path,
        "--num-trials",
        "4",
        "--stopping",
        "none",
        "--epochs",
        "30",
        "--seeds",
        "1",
        *SMALL,
        executor="process",
    ).start()
    study.until(lambda: study.epochs >= 1, "an epoch")
    pids = processes.below(study.driver.pid)
    environments = [processes.environment(pid) for pid in pids]
    assert any(environments) and not [one for one in environments if SECRET.encode() in one]
    study.kill()
    assert study.gone(30) < 30
