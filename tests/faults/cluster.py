"""A Ray cluster of several pretended nodes on this machine: one to lose a node of, or a neighbour to get along with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faults import processes


@contextmanager
def nodes(number: int) -> Iterator[Any]:
    """A running cluster, one processor per node; stopped afterwards."""
    from ray.cluster_utils import Cluster

    memory = 128 * 2**20
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(number - 1):
            cluster.add_node(num_cpus=1, object_store_memory=memory)
        yield cluster
    finally:
        cluster.shutdown()


def on_node(node: Any, pid: int) -> bool:
    """Whether a process was started by this node."""
    return any(pid in processes.below(info.process.pid) for infos in node.all_processes.values() for info in infos)
