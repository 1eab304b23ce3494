"""Faults of real studies, the part that runs with the tests; ``make faults`` runs the whole matrix through Ray.

What is the study's own is tried with plain processes, what is Ray's with Ray; both must give the one reference. Every
study here is killed, frozen or starved, and must end as if nothing had happened, or say in one line why not.
"""

from __future__ import annotations

import ast
import fcntl
import os
import time

import pytest
import torch
from faults import compare, disk, moments, processes
from faults.cluster import nodes, on_node
from faults.study import FULL, ONE_ARM, ROOT, SHORT, STOPPED, Study
from small import SMALL

from trainer.errors import UsageError

pytestmark = pytest.mark.heavy

TWO_WORKERS = [
    "--workers-per-trial",
    "2",
    "--epochs",
    "8",  # a checkpoint is caught while it is written, from the second on: four epochs gave a busy machine two chances
    "--seeds",
    "1",
    "--probe-epochs",
    "1,2,3",
    *SMALL[1:],
    "model.encoder.width=32",
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The deterministic study that nothing happens to."""
    study = Study(tmp_path_factory.mktemp("reference"), *SHORT, executor="process")
    study.finish()
    assert not compare.broken(study) and {line["state"] for line in study.decisions("finish")} == {"complete", "pruned"}
    return study


@pytest.fixture(scope="module")
def neighbour():
    with nodes(1) as cluster:
        yield cluster


# --- killed


def test_five_killed_drivers_and_torn_lines_change_nothing(reference, tmp_path):
    """Each next driver starts at once, while processes of the killed one may still be ending."""
    study = Study(tmp_path, *SHORT, executor="process")
    study.start().until(lambda: study.decisions("suggest"), "a suggestion")
    study.kill()
    study.start()
    moments.mid_epoch(study)  # frozen: it must be cleared away all the same
    study.kill()
    study.start()
    caught = moments.checkpoint_write(study)
    study.kill()
    study.start().until(lambda: study.decisions("stop"), "a trial was stopped")
    study.kill()
    with (study.folder / "decisions.jsonl").open("ab") as file:
        file.write(b'{"event":"finish","na')
    with (study.folder / "runs" / caught.run / "records.jsonl").open("ab") as file:
        file.write(b'{"schema_version":1,"event":"epo')
    study.start().until(lambda: study.decisions("select"), "the search had ended")
    assert "repaired: a torn last line" in study.said
    moments.mid_epoch(study, avoid={line["run_id"] for line in study.decisions("suggest")})
    study.kill()
    study.finish()
    assert compare.differences(study, reference) == []
    study.gone()


def test_five_killed_trials_a_hung_one_and_a_second_driver_change_nothing(reference, tmp_path):
    study = Study(tmp_path, *SHORT, "--retries", "20", "--hang-minutes", "0.3", executor="process")
    study.start()
    hung = moments.mid_epoch(study)
    second = Study(tmp_path, *SHORT, executor="process")
    assert f"another driver is running this study (process {study.driver.pid} on" in second.finish(code=2)
    struck = [hung.run]
    for moment in (moments.mid_epoch, moments.checkpoint_write) * 2 + (moments.mid_epoch,):
        caught = moment(study, avoid=struck)
        processes.kill(caught.pid)
        struck.append(caught.run)
    out = study.wait()
    assert "HUNG" in out and "raise --hang-minutes" in out
    kinds = [line["kind"] for line in study.decisions("fail")]
    assert all(line["reason"] != "no exception was left" for line in study.decisions("fail"))
    assert (
        kinds.count("failed") >= 5
        and kinds.count("hung") >= 1
        and all(line["again"] for line in study.decisions("fail"))
    )
    assert compare.differences(study, reference) == []
    study.gone()


def test_ray_gives_the_same_study_though_a_driver_and_a_trial_are_killed_and_a_trial_hangs(reference, tmp_path):
    """The reference ran in plain processes: decisions, records and table are the same whoever executes, and whatever
    befalls it."""
    study = Study(
        tmp_path, *SHORT, "--retries", "20", "--hang-minutes", "1"
    )  # a trial is silent while it imports torch, for long on a busy machine
    with (
        processes.adopting()
    ):  # where orphans do not go to process 1, Ray takes a minute to see them: the system ends them
        study.start()
        frozen = moments.mid_epoch(study)  # it must be cleared away all the same
        study.kill()
        ended_soon(frozen.pid)
    study.start()  # at once, while Ray may still be clearing up behind the killed one
    caught = moments.checkpoint_write(study)
    processes.kill(caught.pid)
    hung = moments.mid_epoch(study, avoid=[caught.run])
    out = study.wait()
    assert "HUNG" in out and "raise --hang-minutes" in out
    kinds = [line["kind"] for line in study.decisions("fail")]
    assert (
        kinds.count("failed") >= 1
        and kinds.count("hung") >= 1
        and all(line["again"] for line in study.decisions("fail"))
    )
    assert {frozen.run, caught.run, hung.run} <= set(study.run_ids)
    assert compare.differences(study, reference) == []
    study.gone()


def test_two_workers_with_a_teacher_are_killed_inside_an_epoch_and_while_saving(tmp_path):
    reference = Study(tmp_path / "straight", *TWO_WORKERS, script=ONE_ARM)
    reference.finish()
    study = Study(tmp_path / "killed", *TWO_WORKERS, "--retries", "3", script=ONE_ARM)
    study.start()
    processes.kill(moments.starting(study))  # before it told its placement group, which takes both processors
    processes.kill(moments.mid_epoch(study).pid)
    processes.kill(moments.checkpoint_write(study, least=2).pid)
    study.wait()
    assert len(study.decisions("fail")) == 3 and len(compare.retrained(study)) == 2
    assert study.lines(study.run_ids[0])[0]["workers"] == 2
    assert compare.differences(study, reference) == []
    study.gone()


def ended_soon(pid):
    """The system ends a killed driver's trial, and does not wait for Ray, which takes longer than this to see it."""
    until = time.monotonic() + 60
    while processes.born(pid) is not None:
        assert time.monotonic() < until, "the trial outlives its driver"
        time.sleep(0.05)


def test_a_trial_that_outlives_its_driver_does_not_write_beside_the_next(tmp_path):
    """The system ends it, and a lock parts the two."""
    study = Study(tmp_path, *SHORT, executor="process")
    with processes.adopting():
        study.start()
        caught = moments.mid_epoch(study)
        study.kill()
        ended_soon(caught.pid)
    before = study.lines(caught.run)
    folder = os.open(study.folder / "runs" / caught.run / ".lock", os.O_RDWR)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as one that still trains would hold it
    study.start().until(lambda: processes.waiting_for_a_lock(study.pids), "the run's next process waited")
    assert study.lines(caught.run) == before
    os.close(folder)
    study.until(lambda: len(study.lines(caught.run)) > len(before) + 1, "it went on")
    study.kill()
    study.gone()


def test_a_ray_that_does_not_start_is_one_line(monkeypatch, tmp_path):
    import ray

    from studies.executors import connection

    def init(**_):
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        UsageError,
        match="Ray did not start here in 3 attempts .The current node timed out during startup.*--resume tries again",
    ):
        connection.start(tmp_path, False)


# --- stopped and lost


def test_stopped_trials_of_two_workers_free_everything_beside_another_cluster(neighbour, tmp_path):
    """With the dashboard, which frees placement groups itself, ``make faults`` does the same."""
    settings = [
        "--workers-per-trial",
        "2",
        "--epochs",
        "2",
        "--grace",
        "1",
        "--collapse-rank",
        "1e5",
        "--num-trials",
        "2",
        "--seeds",
        "1",
    ]
    study = Study(tmp_path, *settings, *SMALL, script=STOPPED)
    study.finish()
    ends = study.decisions("finish")
    assert [line["state"] for line in ends] == ["collapsed"] * 2 and not study.decisions("fail")
    study.gone()
    print("start-up per trial:", ", ".join(f"{seconds:.1f} s" for seconds in compare.start_ups(study)))


def test_a_lost_node_is_a_preemption_and_the_study_goes_on(tmp_path):
    with nodes(2) as cluster:
        lost = max(cluster.list_all_nodes(), key=lambda node: not node.head)
        settings = [
            "--epochs",
            "6",
            "--seeds",
            "2",
            "--max-concurrent",
            "2",
            "--retries",
            "0",
            *SMALL,
            "--address",
            cluster.address,
        ]
        study = Study(tmp_path, *settings, script=ONE_ARM)
        study.start()

        def there() -> bool:
            trainers = [study.trainer_of(run) for run in study.run_ids]
            return any(pid is not None and on_node(lost, pid) for pid in trainers) and study.epochs > 2

        study.until(there, "a trial trained on the second node")
        cluster.remove_node(lost, allow_graceful=False)
        study.wait()
    fails = study.decisions("fail")
    assert [(line["kind"], line["counted"], line["again"]) for line in fails] == [("preempted", False, True)]
    assert compare.broken(study) == [] and {line["epoch"] for line in study.decisions("finish")} == {6}


# --- starved


def test_a_record_that_is_full_is_said_and_loses_nothing(reference, tmp_path):
    """The system's own error at the driver's first end of a run, on a machine that allows no disk of one's own too."""
    study = Study(tmp_path, *SHORT, script=FULL, executor="process")
    said = study.finish(code=2)
    assert (
        said.rstrip()
        .splitlines()[-1]
        .startswith(f"error: {study.folder}/decisions.jsonl: No space left on device; what is on record stands")
    )
    assert "--resume" in said and "Traceback" not in said and not study.decisions("finish")
    study.gone()
    again = Study(tmp_path, *SHORT, executor="process")
    again.finish()
    assert compare.differences(again, reference) == []


needs_a_mount = pytest.mark.skipif(
    not disk.possible(),
    reason=(
        "a disk of its own needs the right to mount; without one: a full record above, a folder that is not writable in"
        " test_engine.py"
    ),
)


@needs_a_mount
def test_a_full_disk_is_said_and_loses_nothing(reference, tmp_path):
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir(), kept.mkdir()
    study = Study(small, *SHORT, prefix=disk.on(small, "size=1500k", kept), executor="process")
    study.log_in(tmp_path)
    study.start()
    said = study.wait(2)
    assert "No space left on device" in said and "--resume" in said and "Traceback" not in said
    study.gone()
    again = Study(kept, *SHORT, executor="process")
    again.finish()
    assert compare.differences(again, reference) == []


@needs_a_mount
def test_a_read_only_results_folder_is_refused_before_anything_starts(tmp_path):
    locked, kept = tmp_path / "locked", tmp_path / "kept"
    locked.mkdir(), kept.mkdir()
    study = Study(locked, *SHORT, prefix=disk.on(locked, "ro", kept), executor="process")
    study.log_in(tmp_path)
    out = study.finish(code=2)
    assert out.startswith("error: results folder") and "is not writable" in out and out.count("\n") == 1


def test_memory_that_ran_out_is_told_from_other_failures(neighbour):
    """The exceptions that Ray really gives for it: of a function, of an actor, and of a group of workers."""
    import ray
    from ray.train import ControllerError, WorkerGroupError

    from studies.executors.ray_errors import kind_of

    def train(error: type[Exception]) -> None:
        raise error("CUDA out of memory. Tried to allocate 2.00 GiB")

    class Worker:
        def train(self, error: type[Exception]) -> None:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB")

    def raised(reference) -> Exception:
        with pytest.raises(Exception) as caught:
            ray.get(reference)
        return caught.value

    ray.init(address=neighbour.address, log_to_driver=False, logging_level="ERROR")
    try:
        plain = raised(ray.remote(num_cpus=0)(train).remote(torch.OutOfMemoryError))
        worker = ray.remote(num_cpus=0)(Worker).remote()
        nested = raised(worker.train.remote(torch.OutOfMemoryError))
        other = raised(worker.train.remote(ZeroDivisionError))
    finally:
        ray.shutdown()
    group = WorkerGroupError("rank 1", {1: nested})
    for error in (plain, nested, group, ControllerError(group)):
        kind, reason = kind_of(error)
        assert kind == "out_of_memory" and "2.00 GiB" in reason
    assert kind_of(WorkerGroupError("rank 1", {1: ZeroDivisionError("x")}))[0] == "failed"
    assert kind_of(ZeroDivisionError("x"))[0] == "failed" and kind_of(other)[0] != "preempted"


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
