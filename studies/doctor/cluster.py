"""A running Ray cluster: whether it answers, and what its nodes lack."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.doctor.cluster_probe import MARK
from studies.doctor.finding import Finding, fail, ok, warn
from studies.executors.connection import PATIENCE, cluster_here
from studies.running.capacity import trials_at_once
from trainer.command.results import nearest
from trainer.errors import UsageError

REACH_SECONDS, PROBE_SECONDS = 10, 180
START = "start it with `ray start --head`, or correct --address"
SAME = "install the same versions everywhere, restart Ray"


def resolve(address: str, environment: Mapping[str, str], temporary: Path, running: bool) -> str | None:
    """The host:port that Ray takes ``auto`` for, any other address as it is; None where only Ray itself can tell.

    Args:
        temporary: Ray's temporary folder, where the last cluster's address is kept, also of one that died.
        running: whether a Ray runs on this machine; ``auto`` then means that one, unless it is a study's own.
    """
    if address != "auto":
        return address
    if environment.get("RAY_ADDRESS"):
        return environment["RAY_ADDRESS"]
    if running:
        try:
            place = cluster_here(environment, temporary=temporary)
        except UsageError:
            return ""
        return None if place == "auto" else place
    try:
        return (temporary / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def reach(address: str, seconds: float = REACH_SECONDS) -> Finding | None:
    """FAIL unless something listens at host:port; None for an address of another form, which only Ray can tell."""
    if not address:
        return fail("cluster", "auto", "no Ray runs on this machine, and RAY_ADDRESS names none", START)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return fail("cluster", address, f"nothing answers there ({reason})", f"{START}; a firewall may hide it")
    return ok("cluster", f"{address} answers")


def ask(address: str, results: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Run the probe against a cluster, with a locked file in the results folder for its nodes to find.

    Returns:
        The probe's facts, or ``{"error": why}``.

    Raises:
        OSError: the results folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=nearest(results)) as name:
        probe = Path(name) / "probe"
        with probe.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return _run({"address": address, "probe": str(probe), "config": config})


def _run(spec: dict[str, Any]) -> dict[str, Any]:
    # -P and the path: a user's studies.py in the current folder must not stand for ours
    command = [sys.executable, "-P", "-m", "studies.doctor.cluster_probe", json.dumps(spec)]
    root = str(Path(__file__).resolve().parent.parent.parent)
    environment = {
        **os.environ,
        **PATIENCE,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
        line = next((line for line in out.splitlines() if line.startswith(MARK)), None)
        last = err.strip().splitlines() or ["it ended without a word"]
        found = json.loads(line.removeprefix(MARK)) if line else {"error": f"ProbeError: {last[-1]}"}
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        found = {"error": f"TimeoutError: no answer within {PROBE_SECONDS} s"}
    finally:
        if process.poll() is None:  # Ctrl-C
            os.killpg(process.pid, signal.SIGKILL)
    if "error" in found and "InvalidAuthToken" in err:  # Ray's exception does not say so, its log does
        found["error"] += " (authentication failed)"
    return found


def refused(address: str, error: str) -> Finding:
    """Why connecting failed, from Ray's own words."""
    versions = re.search(r"Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", error, re.DOTALL)
    if "ersion mismatch" in error and versions:
        ray, python, my_ray, my_python = versions.groups()
        value = f"{address} has ray {ray}, Python {python}; here {my_ray}, {my_python}"
        return fail("cluster", value, "Ray joins only equal versions", SAME)
    if "authentication" in error.lower() or "token" in error.lower():
        do = "copy the head node's ~/.ray/auth_token here, chmod 600"
        return fail("cluster", f"{address} wants another token", "Ray lets in only who has the cluster's own", do)
    reason = " ".join(error.split()).partition(". ")[0][:80]
    return fail("cluster", address, f"Ray could not be asked ({reason})", START)


def judge(
    found: dict[str, Any], cpus: int, gpus: float, workers: int, results: Path, online: bool
) -> Iterator[Finding]:
    """The cluster as a whole, then each node.

    Args:
        cpus, gpus: of one worker.
        results: the results folder, as the driver names it.
        online: whether trials will talk to Weights & Biases.
    """
    alive = [node for node in found["nodes"] if node["alive"]]
    total = {kind: sum(node["resources"].get(kind, 0) for node in alive) for kind in ("CPU", "GPU")}
    has = f"{len(alive)} node{'s' * (len(alive) != 1)}, {total['CPU']:g} CPUs, {total['GPU']:g} GPUs"
    one = (
        f"{workers} x ({cpus} CPU{f' + {gpus:g} GPU' if gpus else ''})"
        if workers > 1
        else f"{cpus} CPU{f' + {gpus:g} GPU' if gpus else ''}"
    )
    at_once = trials_at_once((node["resources"] for node in alive), cpus, gpus, workers)
    if not at_once:
        yield fail(
            "cluster",
            has,
            f"not one trial of {one} could start",
            "add nodes, or lower --cpus-per-trial or --gpus-per-trial",
        )
    elif found["free"].get("CPU", 0) + 0.5 < total["CPU"] or found["free"].get("GPU", 0) + 1e-3 < total["GPU"]:
        free = f"{found['free'].get('CPU', 0):g} CPUs and {found['free'].get('GPU', 0):g} GPUs free"
        yield warn(
            "cluster",
            f"{has}; {free}",
            "others use it, and trials wait for their share",
            f"expect fewer than {at_once} at once",
        )
    else:
        yield ok("cluster", f"{has}: {at_once} trial{'s' * (at_once > 1)} of {one} at once")
    for node in found["nodes"]:
        yield from _node(node, found["driver"], results, online)


def _node(node: dict[str, Any], driver: dict[str, Any], results: Path, online: bool) -> Iterator[Finding]:
    where = f"{node['address']}"
    if not node["alive"]:
        yield warn(
            "node",
            f"{where} is dead",
            "its CPUs and GPUs are missing",
            "`ray start --address=...` there, unless it was taken down",
        )
        return
    if "report" not in node:
        reason = " ".join(node["error"].split())[:80]
        yield fail(
            "node",
            where,
            f"a small task did not run there ({reason})",
            "look at Ray's log on that node, /tmp/ray/session_latest/logs",
        )
        return
    report, faults = node["report"], list(_faults(node["report"], driver, results))
    for value, why, do in faults:
        yield fail("node", f"{where} {value}", why, do)
    if online and not report.get("wandb_key", True):
        yield warn(
            "node",
            f"{where} has no W&B key",
            "its trials are not mirrored; the records are",
            "`wandb login` there before `ray start`",
        )
    if not faults:
        clock = f", clock {node['clock'][0]:+.2f} s (within {node['clock'][1]:.2f})" if "clock" in node else ""
        commit = f"commit {report['commit'][:10]}" if report["commit"] else "the same code"
        yield ok("node", f"{where} ({report['host']}): same versions, {commit}, sees results and data{clock}")


def _faults(report: dict[str, Any], driver: dict[str, Any], results: Path) -> Iterator[tuple[str, str, str]]:
    """(value, why, what to do) of all that differs on a node."""
    here, there = ({"Python": r["python"], **r["packages"]} for r in (driver, report))
    different = [
        f"{name} {there[name] or 'missing'} (here {here[name] or 'missing'})"
        for name in here
        if there[name] != here[name]
    ]
    if different:
        yield f"has {', '.join(different)}", "numbers would depend on the node", SAME
    if report["code"] is None:
        yield (
            f"cannot import this repository ({report['import_error'][:50]})",
            "no trial could run there",
            "install it in the same place",
        )
    elif report["code"] != driver["code"]:
        commits = [r["commit"][:10] if r["commit"] else "an unknown commit" for r in (report, driver)]
        told = f"{commits[0]}, here {commits[1]}" if commits[0] != commits[1] else f"{commits[0]} with other changes"
        yield (
            f"has other code ({told})",
            "rows of one table would come from different code",
            "check out one commit on every node",
        )
    if report["results"] == "unlocked":
        yield (
            f"ignores locks in {results}",
            "two processes could write one file",
            "mount it with locking (nfs: without nolock or local_lock)",
        )
    elif report["results"] == "absent":
        yield (
            f"does not see {results}",
            "its runs would never be found",
            "put --results-dir on a file system that all nodes mount at one path",
        )
    elif report["results"] is not None:
        yield (
            f"cannot write to {results} ({report['results']})",
            "its runs would fail",
            "mount it writable for the user that runs Ray",
        )
    if report.get("data"):
        value, _, do = report["data"].partition("; ")
        yield f"lacks {value}", "its trials would stop", do
