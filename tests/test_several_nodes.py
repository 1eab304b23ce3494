"""A study on three nodes, of which one is lost and another is added: the same records as on one machine."""

import pytest
from faults import compare
from faults.cluster import nodes, on_node
from faults.study import SHORT, Study

pytestmark = pytest.mark.heavy


def test_three_nodes_one_lost_one_added_the_same_table(tmp_path):
    reference = Study(tmp_path / "one", *SHORT, executor="process")
    reference.finish()
    with nodes(3) as cluster:
        study = Study(tmp_path / "three", *SHORT, "--retries", "0", "--address", cluster.address)
        study.start()
        workers = [node for node in cluster.list_all_nodes() if not node.head]

        def holder():
            trainers = [pid for run in study.run_ids if (pid := study.trainer_of(run)) is not None]
            return next((node for node in workers for pid in trainers if on_node(node, pid)), None)

        lost = study.until(lambda: study.epochs > 2 and holder(), "a trial trained on a node that is not the head")
        cluster.remove_node(lost, allow_graceful=False)
        added = cluster.add_node(num_cpus=1, object_store_memory=128 * 2**20)
        study.until(
            lambda: any(on_node(added, pid) for run in study.run_ids if (pid := study.trainer_of(run)) is not None),
            "a trial trained on the node that was added",
        )
        study.wait()
    assert {line["kind"] for line in study.decisions("fail")} == {"preempted"}
    assert not any(line["counted"] for line in study.decisions("fail"))
    assert compare.differences(study, reference) == [] and compare.table(study) == compare.table(reference)
