"""Faults that are Ray's own: workers of a trial killed, trials stopped, a node lost, memory that ran out.

``make faults`` runs the whole matrix.
"""

from __future__ import annotations

import pytest
import torch
from faults import compare, moments, processes
from faults.cluster import nodes, on_node
from faults.study import ONE_ARM, STOPPED, Study
from process_group import join, together
from small import SMALL

from trainer import presets
from trainer.errors import UsageError
from trainer.loop import train
from trainer.record.run import comparable
from trainer.record.run_lines import read_run

pytestmark = pytest.mark.heavy

GRACE = 5  # epochs of each trial, so chances to catch a checkpoint while it is written: a busy machine misses some
TWO_WORKERS = [
    *("--workers-per-trial", "2", "--epochs", f"{2 * GRACE}", "--grace", f"{GRACE}", "--probe-epochs", "1,2,3"),
    *("--collapse-rank", "1e5", "--num-trials", "2", "--seeds", "1", "--retries", "3"),
    *(*SMALL[1:], "model.encoder.width=32", "data.sizes=[128,64,64]"),
    *("objective.teacher=ema", "objective.ema.half_life=0.05"),
]


@pytest.fixture(scope="module")
def cluster():
    """Of two nodes; the last test loses one."""
    with nodes(2) as cluster:
        yield cluster


def straight(rank, world, place, config, folder, queue):
    """The same run, trained by two plain processes that nothing befalls."""
    torch.set_num_threads(1)
    join(place, rank, world)
    train(presets.build(config), folder, "s")
    torch.distributed.destroy_process_group()
    if rank == 0:
        queue.put("trained")


def test_two_workers_with_a_teacher_are_killed_and_stopped_beside_another_cluster(cluster, tmp_path, monkeypatch):
    """A trial is killed before it told of its workers, one while it saves; both are stopped, and the first frees its
    workers for the second. The folder it starts in has a trainer.py of the user's own, which no worker may take for
    ours. Killed inside an epoch, and with a dashboard: ``make faults``."""
    (tmp_path / "trainer.py").write_text("raise RuntimeError('the user\\'s trainer.py was imported')\n")
    study = Study(tmp_path / "results", *TWO_WORKERS, script=STOPPED)
    with monkeypatch.context() as here:
        here.chdir(tmp_path)
        study.start()
    processes.kill(moments.starting(study))  # before it told its placement group, which takes both processors
    caught = moments.checkpoint_write(study, least=2)
    titles = [processes.title(pid) for pid in study.pids]
    processes.kill(caught.pid)
    said = study.wait()
    assert "was imported" not in said and "2 workers (ray-train)" in said
    of_ray = ("DatasetManager", "PlacementGroupCleaner", "PreemptionWatcher")
    assert not [title for title in titles if any(name in title for name in of_ray)]
    assert len(study.decisions("fail")) == 2 and [run for run, *_ in compare.retrained(study)] == [caught.run]
    assert [line["state"] for line in study.decisions("finish")] == ["collapsed"] * 2
    assert compare.broken(study) == []
    study.gone()
    # until the word reaches it, a trial that is stopped may begin another epoch
    lines = (line for line in study.lines(caught.run) if line["event"] in ("epoch", "eval"))
    ours = [line for line in lines if line["epoch"] <= GRACE]
    together(2, straight, ours[0]["config"] | {"epochs": GRACE}, tmp_path / "straight")
    reference = list(read_run(tmp_path / "straight" / caught.run / "records.jsonl", caught.run))
    assert ours[0]["workers"] == reference[0]["workers"] == 2
    reference[0]["config"] = ours[0]["config"]  # it was told where to end, which is no part of what is trained
    assert [comparable(line) for line in ours] == [comparable(line) for line in reference if line["event"] != "stop"]
    print("start-up per trial:", ", ".join(f"{seconds:.1f} s" for seconds in compare.start_ups(study)))


def test_memory_that_ran_out_is_told_from_other_failures(cluster):
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

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
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


def test_a_lost_node_is_a_preemption_and_the_study_goes_on(cluster, tmp_path):
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
