"""Vast.ai for Ray's cluster launcher: ``provider: {type: external, module: clusters.vast.provider.VastNodeProvider}``.

One instance is the head and there are no workers: two containers of Vast.ai cannot reach each other's ports. So nothing
on the rented machine needs this module, or the account's key. In an overlay network (``provider.overlay``) there may be
workers; then Ray's autoscaler on the head rents them, with this module and a key that lies there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from ray.autoscaler.node_provider import NodeProvider

from clusters.vast import instance as instances
from clusters.vast import limits as caps
from clusters.vast import ssh_key
from clusters.vast.client import Client, account_key
from clusters.vast.errors import VastError
from clusters.vast.instance import Instance
from clusters.vast.memory import Memory
from clusters.vast.rent import Order, Renting
from clusters.vast.runner import VastCommandRunner
from trainer.errors import one_line

ROOT = Path(__file__).resolve().parents[2]
"""Of the project: relative sources under ``file_mounts`` are meant from there, wherever ``ray`` is called."""

RAYS_COPY = Path("~/ray_bootstrap_key.pem")


class VastNodeProvider(NodeProvider):
    """Node ids are the service's instance numbers. Errors are one line: click.ClickException, as Ray's own."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str):
        super().__init__(provider_config, cluster_name)
        with _said():
            self._limits = caps.read(provider_config)
            self._client = Client(account_key())
        self._memory = Memory()
        self._lock, self._renting = threading.RLock(), threading.Lock()
        self._seen: dict[str, Instance] = {}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Living nodes. Dead ones are deleted on sight: their disk is billed, and Ray would forget them."""
        with self._lock, _said():
            living = []
            for found in self._mine():
                if found.overdue(self._limits.boot_minutes * 60 + 300):
                    print(f"instance {found.id} is {found.status or 'not starting'}: it is deleted")
                    self._end(found.id)
                else:
                    living.append(found)
            self._seen = {str(found.id): found for found in living}
            return [node for node in self._seen if tag_filters.items() <= self.node_tags(node).items()]

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        with self._lock, _said():
            self._seen = {str(found.id): found for found in self._mine()}
            return [node for node in self._seen if tag_filters.items() <= self.node_tags(node).items()]

    def is_running(self, node_id: str) -> bool:
        return self._find(node_id, fresh=True) is not None and self._seen[node_id].status == "running"

    def is_terminated(self, node_id: str) -> bool:
        found = self._find(node_id, fresh=True)
        return found is None or found.dead

    def node_tags(self, node_id: str) -> dict[str, str]:
        found = self._find(node_id)
        return {**(found.tags if found else {}), **self._memory.tags(int(node_id))}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._memory.set_tags(int(node_id), {k: v for k, v in tags.items() if k not in instances.FIXED_TAGS})

    def external_ip(self, node_id: str) -> str | None:
        return self.ssh_endpoint(node_id)[0]

    def internal_ip(self, node_id: str) -> str | None:
        return self.external_ip(node_id)

    def ssh_endpoint(self, node_id: str) -> tuple[str | None, int | None]:
        """Host and port of its ssh, or a pair of None until it is known."""
        found = self._find(node_id)
        if found is None or found.status != "running":
            found = self._find(node_id, fresh=True)
        return (found.host, found.port) if found else (None, None)

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        with _said():
            if count != 1 and not self._limits.overlay:
                raise VastError(f"{count} machines at once: this cluster is one machine (max_workers: 0)")
            return dict(self._rent(node_config, tags) for _ in range(count))

    def _rent(self, node_config: dict[str, Any], tags: dict[str, str]) -> tuple[str, dict[str, Any]]:
        config = self.provider_config
        private = Path(config["private_key_file"])
        order = Order(
            cluster=self.cluster_name,
            image=node_config["image"],
            disk_gb=int(node_config["disk_gb"]),
            tags=tags,
            public_key=config["public_key"],
            # on the head, which rents workers, Ray has put the key elsewhere
            private_key_file=str(private if private.exists() else RAYS_COPY.expanduser()),
        )
        with self._renting:  # one at a time: the number of machines is checked before each
            found = Renting(self._client, self._limits, self._memory).rent(order)
        self.set_node_tags(str(found.id), tags)
        with self._lock:
            self._seen[str(found.id)] = found
        return str(found.id), {}

    def terminate_node(self, node_id: str) -> None:
        with self._lock, _said():
            self._end(int(node_id))
            self._seen.pop(node_id, None)

    def get_command_runner(
        self, log_prefix: str, node_id: str, auth_config: dict[str, Any], cluster_name: str,
        process_runner: Any, use_internal_ip: bool, docker_config: dict[str, Any] | None = None,
    ) -> VastCommandRunner:  # fmt: skip
        return VastCommandRunner(
            log_prefix, node_id, self, auth_config, cluster_name, process_runner, use_internal_ip=False
        )

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Check everything that can be checked without the network, and make the project's ssh key."""
        with _said():
            provider, auth = cluster_config["provider"], cluster_config["auth"]
            limits, workers = caps.read(provider), cluster_config.get("max_workers") or 0
            if workers and not limits.overlay:
                raise VastError(
                    f"max_workers: {workers} must be 0; two containers of Vast.ai cannot "
                    "reach each other's ports (clusters/vast-overlay.yaml has a network for it)"
                )
            if workers + 1 > limits.max_instances:
                raise VastError(
                    f"provider.max_instances: {limits.max_instances} is less than the head and max_workers: {workers}"
                )
            for name, kind in cluster_config["available_node_types"].items():
                _check_node(name, kind["node_config"])
            auth["ssh_private_key"] = str(Path(auth.get("ssh_private_key") or ssh_key.DEFAULT).expanduser())
            cluster_config["file_mounts"] = _mounts(cluster_config.get("file_mounts") or {})
            provider["public_key"] = ssh_key.ensure(auth["ssh_private_key"])
            provider["private_key_file"] = auth["ssh_private_key"]
        return cluster_config

    def _mine(self) -> list[Instance]:
        return [i for i in map(instances.read, self._client.instances()) if i.cluster == self.cluster_name]

    def _find(self, node_id: str, fresh: bool = False) -> Instance | None:
        with self._lock, _said():
            if fresh or node_id not in self._seen:
                self._seen = {str(found.id): found for found in self._mine()}
            return self._seen.get(node_id)

    def _end(self, number: int) -> None:
        self._client.destroy(number)
        self._memory.forget(number)


def _mounts(mounts: dict[str, str]) -> dict[str, str]:
    """Target to absolute source. Raises VastError for a source that is absent; only .git may be."""
    found = {}
    for there, here in mounts.items():
        source = ROOT / Path(here).expanduser()
        if source.exists():
            found[there] = str(source)
        elif source.name != ".git":
            raise VastError(f"file_mounts: {here} ({source}) does not exist")
    return found


def _check_node(name: str, node: dict[str, Any]) -> None:
    if set(node) != {"image", "disk_gb"}:
        raise VastError(
            f"available_node_types.{name}.node_config: needs exactly image and disk_gb; limits belong under provider"
        )
    if not isinstance(node["image"], str) or ":" not in node["image"] or node["image"].endswith(":latest"):
        raise VastError(f"available_node_types.{name}.node_config.image: {node['image']!r} must name a fixed tag")
    if isinstance(node["disk_gb"], bool) or not isinstance(node["disk_gb"], int) or node["disk_gb"] < 8:
        raise VastError(
            f"available_node_types.{name}.node_config.disk_gb: {node['disk_gb']!r} must be a whole number of at least 8"
        )


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except VastError as error:
        raise click.ClickException(one_line(error)) from None
