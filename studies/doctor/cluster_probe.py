"""What a running Ray cluster says about itself, as one JSON line; a process of its own, so that it can be given up on.

    python -m studies.doctor.cluster_probe '{"address": ...}'

The only file of the doctor that imports Ray. Started as ``__main__`` on purpose: its functions then travel to the nodes
by value, and a node without this repository can still say so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

MARK = "cluster-facts "
NODE_SECONDS = 90
CODE = ("trainer", "studies", "search_spaces")


def node_report(spec: dict[str, Any]) -> dict[str, Any]:
    """What one node has; runs there.

    Args:
        spec: ``config`` (tree), ``probe`` (a file in the results folder that the driver wrote and has locked).
    """
    found: dict[str, Any] = {"host": platform.node(), "python": platform.python_version(), "packages": {}}
    for name in ("ray", "torch"):
        try:
            found["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found["packages"][name] = None
    found |= code_here()
    found["results"] = folder_fault(Path(spec["probe"]))
    if found["code"] is not None:
        found |= wants(spec["config"])
    return found


def now() -> float:
    """The node's clock; runs there."""
    return time.time()


def code_here() -> dict[str, Any]:
    """A digest of this repository's modules as Python finds them, and the commit; or why they cannot be imported."""
    digest = hashlib.sha256()
    try:
        for name in CODE:
            folder = Path(import_module(name).__file__).parent
            for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
                digest.update(f"{name}/{path.relative_to(folder)}\0".encode() + path.read_bytes())
    except ImportError as error:
        return {"code": None, "commit": None, "import_error": str(error)}
    git = ["git", "-C", str(folder.parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):  # no git on the node: the digest tells all the same
        commit = None
    return {"code": digest.hexdigest(), "commit": commit, "import_error": None}


def folder_fault(probe: Path) -> str | None:
    """Why the results folder cannot be used from here: not shared, not writable, or its locks do not hold."""
    try:
        with probe.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return "unlocked"
            except BlockingIOError:
                pass  # as it must be: the driver holds it
        with tempfile.NamedTemporaryFile(dir=probe.parent):
            return None
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        return error.strerror or str(error)


def wants(tree: dict[str, Any]) -> dict[str, Any]:
    """Whether the data set is here and whether there is a W&B key."""
    from trainer import presets
    from trainer.data.sets import require_present
    from trainer.errors import UsageError
    from trainer.mirrors.wandb_mirror import resolve_mode

    try:
        require_present(presets.build(tree))
        data = None
    except UsageError as error:
        data = str(error)
    return {"data": data, "wandb_key": resolve_mode(None) == "online"}


def facts(spec: dict[str, Any]) -> dict[str, Any]:
    """Connect, and ask every node.

    Args:
        spec: as for ``node_report``, with ``address``.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from studies.executors.cluster_token import knock

    try:
        knock(spec["address"])
        ray.init(address=spec["address"], log_to_driver=False, logging_level="CRITICAL")
    except Exception as error:  # told to the user as it is, whatever Ray raises
        return {"error": f"{type(error).__name__}: {error}"}
    ask = ray.remote(num_cpus=0, max_retries=0)(node_report)
    clock = ray.remote(num_cpus=0, max_retries=0)(now)
    nodes = []
    for node in ray.nodes():
        known = {"address": node["NodeManagerAddress"], "alive": node["Alive"], "resources": node["Resources"]}
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            known |= {"strategy": here, "asked": ask.options(scheduling_strategy=here).remote(spec)}
        nodes.append(known)
    until = time.monotonic() + NODE_SECONDS
    for node in nodes:
        if node["alive"]:
            here, asked = node.pop("strategy"), node.pop("asked")
            try:
                node["report"] = ray.get(asked, timeout=max(1, until - time.monotonic()))
                before = time.time()
                there = ray.get(clock.options(scheduling_strategy=here).remote(), timeout=10)
                after = time.time()
                node["clock"] = [there - (before + after) / 2, (after - before) / 2]
            except Exception as error:  # one node's failure, of whatever kind, is that node's line
                node["error"] = f"{type(error).__name__}: {error}"
    result = {"nodes": nodes, "driver": node_report(spec), "free": ray.available_resources()}
    ray.shutdown()
    return result


def main(argv: list[str]) -> int:
    """Print the facts; returns 0."""
    spec = json.loads(argv[0])
    found = facts(spec)
    print(MARK + json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # Ray's threads may hang on a cluster that vanished
