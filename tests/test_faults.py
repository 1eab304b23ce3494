"""Faults of real studies, the part that runs with the tests; ``make faults`` runs the whole matrix through Ray.

What is the study's own is tried with plain processes, what is Ray's in ``test_faults_of_ray.py``; both must give the
one reference. Every study here is killed, frozen or starved, and must end as if nothing had happened, or say in one
line why not.
"""

from __future__ import annotations

import ast
import fcntl
import os
import signal
import time

import pytest
from faults import compare, disk, moments, processes
from faults.study import FULL, ROOT, SHORT, Study

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The deterministic study that nothing happens to."""
    study = Study(tmp_path_factory.mktemp("reference"), *SHORT, executor="process")
    study.finish()
    assert not compare.broken(study) and {line["state"] for line in study.decisions("finish")} == {"complete", "pruned"}
    return study


# --- killed


def test_killed_drivers_and_trials_full_disks_torn_lines_and_a_hung_trial_change_nothing(reference, tmp_path):
    """One study that all of it befalls, in plain processes; what a kill leaves at any other moment is test_kill.py's.
    Each next driver starts at once, while processes of the killed one may still be ending."""
    small, results = tmp_path / "small", tmp_path / "kept"
    small.mkdir(), results.mkdir()
    faults = [*SHORT, "--retries", "20", "--hang-minutes", "0.3"]
    if disk.possible():
        starved = Study(small, *faults, prefix=disk.on(small, "size=1500k", results), executor="process")
        _said_to_be_full(starved.log_in(tmp_path).finish(code=2))
        starved.gone()
    study = Study(results, *faults, executor="process").start()
    killed = moments.mid_epoch(study)
    processes.kill(killed.pid)
    _noted(study, "failed")
    caught = moments.checkpoint_write(study)
    study.kill()
    with (study.folder / "decisions.jsonl").open("ab") as file:
        file.write(b'{"event":"finish","na')
    with (study.folder / "runs" / caught.run / "records.jsonl").open("ab") as file:
        file.write(b'{"schema_version":1,"event":"epo')
    # the decisions are full, by the system's own error, at the driver's first end of a run: without a right to mount
    full, ended = Study(results, *faults, script=FULL, executor="process"), study.decisions("finish")
    said = full.finish(code=2)
    assert "repaired: a torn last line" in said and study.decisions("finish") == ended
    assert _said_to_be_full(said).startswith(f"error: {study.folder}/decisions.jsonl: No space left on device")
    full.gone()
    study.start().until(lambda: study.decisions("select"), "the search had ended")
    second = Study(results, *faults, executor="process")
    assert f"another driver is running this study (process {study.driver.pid} on" in second.finish(code=2)
    with processes.adopting():  # the system ends a trial that outlives its driver, a frozen one too
        frozen = moments.mid_epoch(study, avoid={line["run_id"] for line in study.decisions("suggest")})
        study.kill()
        ended_soon(frozen.pid)
    before = study.lines(frozen.run)
    lock = os.open(study.folder / "runs" / frozen.run / ".lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as one that still trains would hold it
    study.start().until(lambda: processes.waiting_for_a_lock(study.pids), "the run's next process waited")
    assert study.lines(frozen.run) == before
    os.close(lock)
    hung = moments.mid_epoch(study, avoid=[frozen.run])
    _hangs_and_is_interrupted(study, signal.SIGINT)
    study.finish()
    fails = study.decisions("fail")
    assert {"failed", "hung"} <= {line["kind"] for line in fails} and all(line["again"] for line in fails)
    assert all(line["reason"] != "no exception was left" for line in fails)
    assert {killed.run, caught.run, frozen.run, hung.run} <= set(study.run_ids)
    assert compare.differences(study, reference) == []
    study.gone()


def _noted(study, kind):
    study.until(lambda: kind in {line["kind"] for line in study.decisions("fail")}, f"a trial was noted as {kind}")


def _hangs_and_is_interrupted(study, how):
    """Once a hung trial was noticed, so in the middle; the record says who ended how, and nothing is left."""
    study.until(
        lambda: [line for line in study.decisions("fail") if line["kind"] == "hung"], "the hung trial was noted"
    )
    ended = len(study.decisions("session"))
    study.driver.send_signal(how)
    said = study.wait(130)
    assert "HUNG" in said and "raise --hang-minutes" in said and "--resume" in said and "Traceback" not in said
    assert len(study.decisions("session")) == ended + 1 and not (study.folder / "report" / "table.csv").exists()
    command = study.decisions("begin")[-1]["command"]
    assert "studies/step2_rate.py" in command and command.count("--resume") == 1
    study.gone()


def _said_to_be_full(said):
    """The line that says so, the last."""
    assert "No space left on device" in said and "--resume" in said and "Traceback" not in said
    return said.rstrip().splitlines()[-1]


def test_ray_gives_the_same_study_though_a_driver_and_a_trial_are_killed_and_a_trial_hangs(reference, tmp_path):
    """The reference ran in plain processes: decisions, records and table are the same whoever executes, and whatever
    befalls it, and plain processes go on with what Ray began."""
    # a trial is silent while it imports torch, for long on a busy machine
    faults = [*SHORT, "--retries", "20", "--hang-minutes", "0.6"]
    study = Study(tmp_path, *faults)
    # where orphans do not go to process 1, Ray takes a minute to see them: the system ends them
    with processes.adopting():
        study.start()
        frozen = moments.mid_epoch(study)  # it must be cleared away all the same
        study.kill()
        ended_soon(frozen.pid)
    study.start()  # at once, while Ray may still be clearing up behind the killed one
    caught = moments.checkpoint_write(study)
    processes.kill(caught.pid)
    hung = moments.mid_epoch(study, avoid=[caught.run])
    _hangs_and_is_interrupted(study, signal.SIGTERM)
    study = Study(tmp_path, *faults, executor="process")
    study.finish()
    fails = study.decisions("fail")
    assert {"failed", "hung"} <= {line["kind"] for line in fails} and all(line["again"] for line in fails)
    assert {frozen.run, caught.run, hung.run} <= set(study.run_ids)
    assert compare.differences(study, reference) == []
    study.gone()


def ended_soon(pid):
    """The system ends a killed driver's trial, and does not wait for Ray, which takes longer than this to see it."""
    until = time.monotonic() + 60
    while processes.born(pid) is not None:
        assert time.monotonic() < until, "the trial outlives its driver"
        time.sleep(0.05)


# --- starved


@pytest.mark.skipif(not disk.possible(), reason="needs the right to mount; without it: test_engine.py")
def test_a_read_only_results_folder_is_refused_before_anything_starts(tmp_path):
    locked, kept = tmp_path / "locked", tmp_path / "kept"
    locked.mkdir(), kept.mkdir()
    study = Study(locked, *SHORT, prefix=disk.on(locked, "ro", kept), executor="process")
    study.log_in(tmp_path)
    out = study.finish(code=2)
    assert out.startswith("error: results folder") and "is not writable" in out and out.count("\n") == 1


# --- the clock

WALL_CLOCK = {("time", name) for name in ("time", "time_ns", "gmtime", "localtime", "strftime", "ctime")} | {
    ("datetime", name) for name in ("now", "utcnow", "today")
}
LABELS_AND_AGES = {
    "studies/engine/folder.py": "when a study was created, a label",
    "trainer/data/shared.py": "files that nobody used for a week",
    "studies/engine/moments.py": "when a session began, for those who read the record",
    "studies/command/console.py": "times in study.log",
    "studies/running/mirror.py": "times that optuna-dashboard shows",
    "studies/doctor/cluster_probe.py": "compares the clocks of nodes",
}


def test_no_decision_reads_the_wall_clock():
    """A clock that jumps can then change labels only: durations and silences are by one that never does."""
    found = set()
    for folder in ("studies", "trainer", "search_spaces"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Attribute)
                    and (getattr(node.value, "id", getattr(node.value, "attr", "")), node.attr) in WALL_CLOCK
                ):
                    found.add(str(path.relative_to(ROOT)))
    assert found <= LABELS_AND_AGES.keys()
