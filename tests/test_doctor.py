"""The doctor: every check finds what is wrong and is quiet about what is not."""

import errno
import fcntl
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from faults import processes

from studies import step2_rate
from studies.__main__ import main
from studies.command import options
from studies.doctor import accelerators, cluster, cluster_probe, command, inputs, local_ray, machine, software, storage
from studies.doctor.finding import GB, ok, summary, warn
from studies.executors import connection
from studies.running import processors, resources
from trainer import presets
from trainer.data.shards import write_shards
from trainer.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
SECRET = "0123456789-this-is-a-secret"


def levels(findings):
    return [finding.level for finding in findings]


def told(finding, level, *words):
    """A finding of this level that holds these words and, unless ok, says why and what to do, in one line of a width to
    read."""
    assert finding.level == level, finding
    assert level == "ok" or (finding.why and finding.do), finding
    for word in words:
        assert word in finding.line, finding.line
    line = re.sub(r"\S*/pytest-\d+/(popen-gw\d+/)?[\w-]+", "/data", finding.line)  # a user's paths are shorter
    assert "\n" not in line and len(line) <= 165, (len(line), line)


# software


def test_python_versions():
    told(software.python("3.12.1", ">=3.11"), "ok", "3.12.1")
    told(software.python("3.10.9", ">=3.11"), "FAIL", "3.10.9", ">=3.11", "make PYTHON")


@pytest.mark.parametrize(
    "found, level, words",
    [
        ("2.60.0", "ok", ["ray 2.60.0"]),
        ("2.60.3", "warn", ["2.60.3", "2.60.0 was tested"]),
        ("2.61.0", "FAIL", ["2.61.0", "<2.61"]),
        (None, "FAIL", ["ray is missing", ">=2.60"]),
    ],
)
def test_package_versions(found, level, words):
    versions = {"ray": found, "pandas": "3.0"}
    findings = list(software.packages(["ray[tune]>=2.60,<2.61", "pandas>=2.2"], {"ray": "2.60.0"}, versions.get))
    told(findings[0], level, *words)
    assert levels(findings[1:]) == ([] if level == "ok" else ["ok"])


def test_local_builds_of_torch_count_as_their_version():
    assert levels(software.packages(["torch>=2.11"], {"torch": "2.15.0"}, {"torch": "2.15.0+cu130"}.get)) == ["ok"]


def test_torchvision_for_another_torch():
    told(*software.torch_pair("2.14.0", ["numpy", "torch (==2.15.0)"]), "FAIL", "torch 2.14.0", "==2.15.0")
    assert not list(software.torch_pair("2.15.0+cpu", ["numpy", "torch (==2.15.0)"]))


def test_what_the_repository_declares():
    python, requirements, pins = software.declared()
    assert python == ">=3.11" and any(r.startswith("ray[") for r in requirements) and {"ray", "torch"} <= set(pins)
    assert software.installed_version("no-such-distribution") is None


# machine


@pytest.mark.parametrize(
    "shown, have, each, workers, level, words",
    [
        (8, 8, 2, 2, "ok", ["2 at once"]),
        (8, 3, 1, 1, "ok", ["3 of 8 (container or affinity)", "3 at once"]),
        (2, 2, 2, 2, "FAIL", ["4 CPUs per trial", "--cpus-per-trial"]),
        (64, 2, 4, 1, "FAIL", ["2 of 64", "4 CPUs per trial", "not one trial could start"]),
    ],
)
def test_processors(shown, have, each, workers, level, words):
    told(machine.cpus(shown, have, each, workers), level, *words)


def test_container_limits_of_both_versions(tmp_path):
    membership = tmp_path / "membership"
    two = tmp_path / "two"
    (two / "a/b").mkdir(parents=True)
    membership.write_text("0::/a/b\n")
    assert processors.container_limits(two, membership) == (None, None)
    (two / "a/b/cpu.max").write_text("max 100000\n")
    (two / "a/cpu.max").write_text("150000 100000\n")  # the group above counts too
    (two / "a/b/memory.max").write_text("2000000000\n")
    assert processors.container_limits(two, membership) == (1.5, 2_000_000_000)
    one = tmp_path / "one"
    for folder, name, text in (
        ("cpu,cpuacct", "cpu.cfs_quota_us", "-1"),
        ("cpu,cpuacct/job", "cpu.cfs_quota_us", "50000"),
        ("cpu,cpuacct/job", "cpu.cfs_period_us", "100000"),
        ("memory", "memory.limit_in_bytes", str(2**63 - 4096)),
    ):
        (one / folder).mkdir(parents=True, exist_ok=True)
        (one / folder / name).write_text(text)
    membership.write_text("4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n")
    assert processors.container_limits(one, membership) == (0.5, None)
    assert processors.usable_processors(0.5) == 0.5 and processors.usable_processors(None) >= 1


@pytest.mark.parametrize(
    "available, limit, level, words",
    [
        (64 * GB, None, "ok", ["4 trials"]),
        (64 * GB, 2 * GB, "warn", ["container's limit is 2.0 of 64", "--max-concurrent 2"]),
        (1.2 * GB, None, "FAIL", ["1.2 GB available", "killed"]),
    ],
)
def test_memory(available, limit, level, words):
    told(machine.memory(64 * GB, available, limit, 0, 1, 4), level, *words)


def test_memory_counts_workers_and_resident_images(tmp_path):
    cifar = presets.load("cifar100_aug_30")
    assert machine.image_bytes(cifar) == 60_000 * 3 * 32 * 32
    assert machine.image_bytes(presets.load("cifar100_aug_30", ["runtime.resident_mib=10"])) == 0
    assert machine.memory(64 * GB, 3 * GB, None, 0, 1, 2).level == "ok"
    assert machine.memory(64 * GB, 4 * GB, None, 0, 2, 2).level == "warn"
    assert machine.memory(64 * GB, 3 * GB, None, 2 * GB, 1, 2).level == "FAIL"
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable: 500 kB\n")
    assert machine.memory_now(tmp_path / "meminfo") == (2_048_000, 512_000)
    total, available = machine.memory_now(tmp_path / "absent")
    assert total == available > 2**20


def test_shared_memory_and_open_files():
    told(machine.shared_memory(64 * 2**20), "warn", "64 MiB", "--shm-size")
    told(machine.shared_memory(2**30), "ok", "1,024 MiB")
    told(machine.shared_memory(None), "ok")
    told(machine.open_files(512, 512), "FAIL", "512", "ulimit -n")
    told(machine.open_files(1024, 2048), "warn", "1024", "ulimit -n")
    told(machine.open_files(1024, 1_000_000), "ok", "1024")  # Ray raises it itself
    told(machine.open_files(-1, -1), "ok", "no limit")


# storage


@pytest.mark.parametrize(
    "what, total, free, level",
    [
        ("results", 100 * GB, 50 * GB, "ok"),
        ("results", 100 * GB, 2 * GB, "warn"),
        ("results", 100 * GB, 0.1 * GB, "FAIL"),
        ("temp", 100 * GB, 50 * GB, "ok"),
        ("temp", 1000 * GB, 40 * GB, "warn"),
        ("temp", 10 * GB, 2 * GB, "warn"),
        ("temp", 100 * GB, 0, "FAIL"),
    ],
)
def test_free_space(what, total, free, level):
    finding = storage.space(what, Path("/data/results"), lambda _: (total, total - free, free))
    told(
        finding,
        level,
        f"{free / GB:.1f} of {total / GB:.0f} GB",
        *([] if level == "ok" else ["--results-dir" if what == "results" else "RAY_TMPDIR"]),
    )


def test_space_of_a_folder_that_is_not_there_yet(tmp_path):
    asked = []
    storage.space("results", tmp_path / "a" / "b", lambda path: asked.append(path) or (GB, 0, GB))
    assert asked == [tmp_path] and not (tmp_path / "a").exists()


def test_temporary_folder(tmp_path, monkeypatch):
    told(storage.temp_path(Path("/tmp")), "ok")
    told(storage.temp_path(Path("/" + "x" * 60)), "FAIL", "RAY_TMPDIR")
    told(storage.temp_path(Path("/no/such")), "FAIL", "RAY_TMPDIR")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 90)))
    assert storage.temp_folder() == Path("/tmp")  # as a study does
    monkeypatch.setenv("TMPDIR", "/var")
    assert storage.temp_folder() == Path("/var")
    monkeypatch.setenv("RAY_TMPDIR", "/b")
    assert storage.temp_folder() == Path("/b")


def test_results_folder_is_tried_and_left_as_it_was(tmp_path):
    assert storage.try_folder(tmp_path / "not" / "yet") is None
    assert list(tmp_path.iterdir()) == []


def test_results_folder_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    told(storage.results(tmp_path / "file" / "x", None, False), "FAIL", "is a file", "--results-dir")
    assert storage.try_folder(Path("/proc/seq-jepa")) is not None

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told(storage.results(tmp_path, None, False), "FAIL", "ENOSPC", "No space left")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_locks_that_do_not_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    told(storage.results(tmp_path, None, False), "FAIL", "second process")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    told(storage.results(tmp_path, None, False), "FAIL", "No locks available")


@pytest.mark.parametrize(
    "kind, on_cluster, level",
    [
        ("ext4", False, "ok"),
        (None, False, "ok"),
        ("tmpfs", False, "warn"),
        ("overlay", False, "warn"),
        ("nfs4", False, "warn"),
        ("fuse.sshfs", False, "warn"),
        ("nfs4", True, "ok"),
    ],
)
def test_kind_of_file_system(kind, on_cluster, level):
    told(storage.results(Path("/r"), kind, on_cluster, lambda _: None), level, *([kind] if kind else []))


def test_file_system_is_the_innermost_and_last_mount(tmp_path):
    (tmp_path / "my data").mkdir()
    place = str(tmp_path / "my data").replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {place} rw shared:1 - nfs4 host:/x rw\n3 1 0:3 / {place} rw -"
        " tmpfs t rw\n"
    )
    assert storage.file_system(tmp_path / "my data" / "new", mounts) == "tmpfs"
    assert storage.file_system(tmp_path, mounts) == "ext4"
    assert storage.file_system(tmp_path, tmp_path / "absent") is None


# Ray on this machine


def test_other_ray_processes():
    told(local_ray.other_ray({}, False), "ok")
    told(local_ray.other_ray(None, False), "ok", "not checked")
    told(local_ray.other_ray({7: "raylet", 8: "gcs_server"}, False), "warn", "raylet 7", "ray stop")
    told(local_ray.other_ray({7: "raylet", 8: "gcs_server"}, True), "ok")
    told(local_ray.other_ray({7: "raylet", 9: "raylet"}, True), "warn", "raylet 7, 9")
    told(local_ray.other_ray({8: "gcs_server"}, False), "warn", "gcs_server 8", "killed", "ray stop")


def test_ray_processes_are_found_by_name(tmp_path):
    assert local_ray.servers(tmp_path) is None
    for pid, stat in {
        "self": "",
        "11": "11 (raylet) S 1",
        "12": "12 (gcs_server) Z 1",
        "13": "13 (bash) S 1",
        "14": None,
    }.items():
        (tmp_path / pid).mkdir()
        if stat is not None:
            (tmp_path / pid / "stat").write_text(stat)
    assert local_ray.servers(tmp_path) == {11: "raylet"}


def test_dashboard_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert local_ray.port_taken(port)
        told(local_ray.dashboard_port(True), "warn", "8265 is taken", "link")
    assert not local_ray.port_taken(port)
    told(local_ray.dashboard_port(False), "ok", "8265 is free")


def test_token(tmp_path):
    def check(cluster, **environment):
        finding = local_ray.token(environment, tmp_path, cluster)
        assert SECRET not in finding.line
        return finding

    file = tmp_path / ".ray" / "auth_token"
    told(check(False), "ok", "of its own")
    told(check(False, RAY_AUTH_MODE="disabled"), "ok", "of its own")  # of no consequence for a study's own Ray
    told(check(True), "ok", "without tokens")
    told(check(True, RAY_AUTH_MODE="token"), "FAIL", "connecting needs one")
    told(check(True, RAY_AUTH_MODE="disabled"), "warn", "run code as you")
    told(check(True, RAY_AUTH_TOKEN=SECRET), "ok", "RAY_AUTH_TOKEN")
    file.parent.mkdir()
    file.write_text(SECRET)
    file.chmod(0o600)
    told(check(True), "ok", "readable by you alone", "every node")
    file.chmod(0o644)
    told(check(True), "warn", "644", "chmod 600")
    file.write_text(" \n")
    told(check(True), "FAIL", "is empty")
    told(check(True, RAY_AUTH_TOKEN_PATH=str(tmp_path)), "FAIL", "cannot be read")


# GPUs

H200 = "0, GPU-a, NVIDIA H200, 143771, 143100\n1, GPU-b, NVIDIA H200, 143771, 20000\n"


def test_devices_and_their_free_memory():
    found = accelerators.parse(H200, "GPU-b, 4242\nGPU-b, 4243\n")
    assert [gpu.processes for gpu in found] == [(), ("4242", "4243")]
    first, second = accelerators.devices(found, None, 1, True)
    told(first, "ok", "0: NVIDIA H200, 139.7 of 140.4 GiB free")
    told(second, "warn", "4242, 4243", "CUDA_VISIBLE_DEVICES")
    held = accelerators.parse("0, GPU-a, NVIDIA X, 1000, 100", "")
    told(*accelerators.devices(held, None, 1, True), "warn", "something holds its memory")
    assert levels(accelerators.devices(found, None, 4, True))[0] == "FAIL"
    assert levels(accelerators.devices(found, None, 0, True)) == ["ok", "ok", "ok"]
    assert accelerators.parse("0, GPU-a, NVIDIA X, [N/A], [N/A]", "")[0].total == 0


def test_no_devices():
    told(*accelerators.devices([], "not installed", 0, False), "ok", "none asked for")
    told(*accelerators.devices([], "not installed", 0.5, False), "FAIL", "not installed", "0.5", "--gpus all")
    told(*accelerators.devices([], "NVML mismatch", 0, True), "warn", "NVML mismatch")


@pytest.mark.parametrize(
    "seen, fault, level, words",
    [
        ({"version": "2.15", "cuda": "13.0", "available": True, "count": 2}, None, "ok", ["all 2"]),
        (
            {"version": "2.15", "cuda": "13.0", "available": True, "count": 1},
            None,
            "warn",
            ["1 of 2", "CUDA_VISIBLE_DEVICES"],
        ),
        (
            {"version": "2.15", "cuda": None, "available": False, "count": 0},
            None,
            "FAIL",
            ["CPU build", "install the CUDA build"],
        ),
        ({"version": "2.15", "cuda": "13.0", "available": False, "count": 0}, None, "FAIL", ["update the driver"]),
        ({}, "no answer in 30 s", "FAIL", ["no answer"]),
    ],
)
def test_torch_and_the_driver(seen, fault, level, words):
    told(accelerators.torch_agrees(seen, fault, 2, True), level, *words)
    assert accelerators.torch_agrees(seen, fault, 2, False).level == ("warn" if level == "FAIL" else level)


def test_sharing_a_device():
    found = accelerators.parse(H200, "")
    told(*accelerators.fraction(0.5, found), "ok", "2 trials share one")
    assert not list(accelerators.fraction(1, found)) and not list(accelerators.fraction(0.5, []))


def test_the_driver_and_torch_are_asked_with_a_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.ask_driver() == ([], "not installed")
    tool = tmp_path / "nvidia-smi"
    for text, expected in (
        ("echo broken >&2\nexit 9", ([], "broken")),
        ("exec /bin/sleep 9", ([], "no answer in 0.2 s")),
        (
            "case $1 in *apps*) ;; *) echo '0, GPU-a, NVIDIA X, 1000, 900';; esac",
            ([accelerators.Gpu("0", "NVIDIA X", 1000, 900)], None),
        ),
    ):
        monkeypatch.setattr(accelerators, "SECONDS", 0.2 if "sleep" in text else 10)
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)
        assert accelerators.ask_driver() == expected
    monkeypatch.setattr(accelerators, "SECONDS", 60)
    seen, fault = accelerators.ask_torch()
    assert fault is None and isinstance(seen["available"], bool)


# data and W&B


def test_data(tmp_path):
    told(inputs.data(presets.load("digits")), "ok", "needs no files")

    def cifar(**settings):
        return presets.load("cifar100_aug_30", [], {"runtime.data_root": "/nowhere", **settings})

    told(inputs.data(cifar()), "FAIL", "/nowhere/cifar-100-python", "--download")
    told(inputs.data(cifar(**{"runtime.download": True})), "ok", "will be fetched")
    (tmp_path / "cifar-100-python").mkdir()
    told(inputs.data(cifar(**{"runtime.data_root": str(tmp_path)})), "ok", "cifar-100-python")


def test_shards(tmp_path, monkeypatch):
    config = presets.load("tiny_imagenet_aug", [], {"runtime.data_root": str(tmp_path)})
    assert not list(inputs.shards(config, False))
    folder, images = tmp_path / "tiny_imagenet-shards", np.zeros((4, 3, 8, 8), np.uint8)
    folder.mkdir()
    told(*inputs.shards(config, False), "warn", "not finished", "python -m trainer")
    write_shards(folder, lambda start: iter(images[start:]), images.shape, 2, "source")
    told(*inputs.shards(config, False), "ok", "match their checksums")
    shard = folder / "shard_00001.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    told(*inputs.shards(config, False), "FAIL", "shard_00001.npy has changed", "remove")
    monkeypatch.setattr(inputs, "QUICK_BYTES", 10)
    told(*inputs.shards(config, False), "ok", "--checksums")
    told(*inputs.shards(config, True), "FAIL", "has changed")
    shard.unlink()
    told(*inputs.shards(config, False), "FAIL", "is missing")


def test_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    told(inputs.wandb("online"), "FAIL", "no key", "wandb login")
    told(inputs.wandb(None), "ok", "offline: kept", "no key")
    told(inputs.wandb("offline"), "ok", "wandb sync")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    told(inputs.wandb(None), "ok", "online")
    assert SECRET not in inputs.wandb("online").line


# a cluster

SPEC = {"cpus": 1, "gpus": 0.0, "workers": 1, "results": Path("/shared/results"), "online": True}
REPORT = {
    "host": "a",
    "python": "3.12.1",
    "packages": {"ray": "2.60.0", "torch": "2.15.0"},
    "code": "d1",
    "commit": "c" * 40,
}
REPORT |= {"import_error": None, "results": None, "data": None, "wandb_key": True}


def facts(*nodes, **free):
    """A cluster of nodes given by what differs from a healthy one."""
    healthy = {"address": "10.0.0.2", "alive": True, "resources": {"CPU": 4.0, "GPU": 1.0}, "clock": [0.5, 0.01]}
    whole = [{**healthy, "report": REPORT, **node} for node in nodes]
    total = {kind: sum(node["resources"].get(kind, 0) for node in whole) for kind in ("CPU", "GPU")}
    return {"nodes": whole, "driver": REPORT, "free": total | free}


def test_a_healthy_cluster():
    whole, one, two = cluster.judge(facts({}, {}), **SPEC)
    told(whole, "ok", "2 nodes, 8 CPUs, 2 GPUs", "8 trials of 1 CPU")
    told(one, "ok", "10.0.0.2 (a)", "commit cccccccccc", "clock +0.50 s (within 0.01)")


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"packages": {"ray": "2.60.0", "torch": "2.14.0"}}, ["torch 2.14.0 (here 2.15.0)", "same versions"]),
        ({"packages": {"ray": "2.60.0", "torch": None}}, ["torch missing"]),
        ({"python": "3.12.2"}, ["Python 3.12.2 (here 3.12.1)"]),
        (
            {"code": None, "commit": None, "import_error": "No module named 'trainer'"},
            ["cannot import", "No module named 'trainer'"],
        ),
        ({"code": "d2", "commit": "e" * 40}, ["eeeeeeeeee, here cccccccccc", "one commit"]),
        ({"code": "d2"}, ["cccccccccc with other changes"]),
        ({"code": "d2", "commit": None}, ["an unknown commit, here cccccccccc"]),
        ({"results": "absent"}, ["does not see /shared/results", "--results-dir"]),
        ({"results": "unlocked"}, ["ignores locks"]),
        ({"results": "Permission denied"}, ["cannot write to /shared/results (Permission denied)"]),
        (
            {"data": "cifar10: there is no /d/cifar; give --download"},
            ["cifar10: there is no /d/cifar", "give --download"],
        ),
    ],
)
def test_what_a_node_can_lack(changed, words):
    _, node = cluster.judge(facts({"report": REPORT | changed}), **SPEC)
    told(node, "FAIL", "10.0.0.2", *words)


def test_nodes_that_are_dead_silent_or_without_a_key():
    dead = {"alive": False, "resources": {}}
    told(list(cluster.judge(facts({}, dead), **SPEC))[2], "warn", "is dead", "ray start")
    silent = facts({"error": "GetTimeoutError: nothing"})
    del silent["nodes"][0]["report"]
    told(list(cluster.judge(silent, **SPEC))[1], "FAIL", "GetTimeoutError")
    keyless = facts({"report": REPORT | {"wandb_key": False}})
    assert levels(cluster.judge(keyless, **SPEC)) == ["ok", "warn", "ok"]
    assert levels(cluster.judge(keyless, **SPEC | {"online": False})) == ["ok", "ok"]


def test_resources_of_a_cluster():
    def first(found, **asked):
        return next(cluster.judge(found, **SPEC | asked))

    told(first(facts({}, {}), cpus=8), "FAIL", "not one trial of 8 CPU")  # 8 in all, but no node has them
    told(first(facts({}, {}), gpus=1.0, workers=2), "ok", "1 trial of 2 x (1 CPU + 1 GPU)")
    told(first(facts({}), gpus=1.0, workers=2), "FAIL", "2 x (1 CPU + 1 GPU)")
    told(first(facts({}), gpus=0.5), "ok", "2 trials")
    told(first(facts({"resources": {"CPU": 4.0, "GPU": 2.0}}), gpus=0.6), "ok", ": 2 trials")  # a share lies on one GPU
    told(first(facts({}, CPU=1.0)), "warn", "1 CPUs and 1 GPUs free", "wait")
    told(first(facts({"alive": False, "resources": {}})), "FAIL", "0 nodes")


def test_refusals():
    mismatch = "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
    mismatch += "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    told(cluster.refused("h:1", mismatch), "FAIL", "ray 2.59.0, Python 3.12.1; here 2.60.0, 3.11.7", "equal versions")
    told(
        cluster.refused("h:1", "AuthenticationError: Token authentication is enabled but no"),
        "FAIL",
        "token",
        "auth_token",
    )
    told(
        cluster.refused("auto", "ConnectionError: Could not find any running Ray instance. Please"),
        "FAIL",
        "ray start --head",
    )


def test_reaching_an_address():
    assert cluster.reach("service.internal") is None
    told(cluster.reach(""), "FAIL", "no Ray runs", "ray start")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        told(cluster.reach(address), "ok")
        told(cluster.reach(f"ray://{address}"), "ok")
    told(cluster.reach(address), "FAIL", address, "refused", "ray start")
    told(cluster.reach("127.0.0.1:99999"), "FAIL", "99999")


def test_what_auto_means(tmp_path, monkeypatch):
    found = [("h:7", "/tmp/sj-abcdefgh/r/session_1")]
    monkeypatch.setattr(connection, "_nodes", lambda proc: found)
    assert cluster.resolve("auto", {}, tmp_path, True) == ""  # only a study's own Ray runs here
    found.append(("h:8", "/tmp/ray/session_2"))
    assert cluster.resolve("h:1", {"RAY_ADDRESS": "h:2"}, tmp_path, True) == "h:1"
    assert cluster.resolve("auto", {"RAY_ADDRESS": "h:2"}, tmp_path, True) == "h:2"
    assert cluster.resolve("auto", {}, tmp_path, True) == "h:8"
    assert cluster.resolve("auto", {}, tmp_path, False) == ""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("h:3\n")  # of a cluster that may be dead: it is knocked at
    assert cluster.resolve("auto", {}, tmp_path, False) == "h:3"


def test_a_token_that_is_refused_is_told(tmp_path, monkeypatch):
    code = (
        "import sys, json; print('InvalidAuthToken', file=sys.stderr); print('cluster-facts ' +"
        " json.dumps(dict(error='ConnectionError: no')))"
    )
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(cluster.sys, "executable", str(fake))
    told(cluster.refused("h:1", cluster.ask("h:1", tmp_path, {})["error"]), "FAIL", "wants another token", "auth_token")


def test_a_probe_that_fails_or_hangs_is_given_up(tmp_path, monkeypatch):
    for code, words in (
        ("raise SystemExit('wrecked')", "wrecked"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ):
        fake = tmp_path / "python"
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
        fake.chmod(0o755)
        monkeypatch.setattr(cluster.sys, "executable", str(fake))
        monkeypatch.setattr(cluster, "PROBE_SECONDS", 1 if "sleep" in code else 30)
        found = cluster.ask("auto", tmp_path, {})
        assert words in found["error"]
        assert cluster.refused("auto", found["error"]).level == "FAIL"
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_the_probe_is_as_patient_as_a_study(tmp_path, monkeypatch):
    """Ray's own 5 seconds end the process with a line of C++ where the machine is busy."""
    names = sorted(connection.PATIENCE)
    fake = tmp_path / "python"
    facts = ", ".join(f'\\"{name}\\": \\"${name}\\"' for name in names)
    fake.write_text(f'#!/bin/sh\necho "{cluster_probe.MARK}{{{facts}}}"\n')
    fake.chmod(0o755)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster.sys, "executable", str(fake))
    assert cluster.ask("auto", tmp_path, {}) == connection.PATIENCE
    assert all(float(seconds) >= 60 for seconds in connection.PATIENCE.values())


def test_a_node_looks_at_the_results_folder(tmp_path):
    probe = tmp_path / "probe"
    assert cluster_probe.folder_fault(probe) == "absent"
    probe.write_text("")
    assert cluster_probe.folder_fault(probe) == "unlocked"
    with probe.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert cluster_probe.folder_fault(probe) is None


def test_a_node_knows_its_code(monkeypatch):
    here = cluster_probe.code_here()
    assert len(here["code"]) == 64 and here == cluster_probe.code_here()
    monkeypatch.setattr(cluster_probe, "CODE", ("trainer", "no_such_package"))
    missing = cluster_probe.code_here()
    assert missing["code"] is None and "no_such_package" in missing["import_error"]


# the command


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """A place of one's own, without W&B and Ray settings of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "WANDB_API_KEY",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_ADDRESS",
        "RAY_TMPDIR",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_report_and_its_exit_codes(quiet, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    started = time.process_time()
    assert main(["doctor"]) == 0
    assert time.process_time() - started < 10  # its own work; how long others let it wait is not its doing
    out = capsys.readouterr().out
    for what in (
        "preset",
        "python",
        "packages",
        "cpus",
        "memory",
        "/dev/shm",
        "open files",
        "gpus",
        "results",
        "temp",
        "ray here",
        "ports",
        "ray token",
        "data",
        "wandb",
    ):
        assert any(
            line.split(maxsplit=1)[1].startswith(what) for line in out.splitlines() if line.startswith(("ok ", "warn "))
        ), what
    assert SECRET not in out and "ready to run" in out
    assert list(quiet.iterdir()) == []  # a look changes nothing
    assert main(["doctor", "--preset", "cifar100_aug_30"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  data" in out and "1 to fix before a study can run" in out


def test_a_limited_machine_is_judged_as_the_study_judges_it(quiet, capsys, monkeypatch):
    """64 processors, of which a container allows two."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for module in (command, resources):
        monkeypatch.setattr(module, "processors_here", lambda: 2)
    main(["doctor"])
    out = capsys.readouterr().out
    assert "2 of 64 (container or affinity), 1 CPU per trial: 2 at once" in out and (
        "2 trials at once take" in out or "FAIL  memory" in out
    )
    assert main(["doctor", "--cpus-per-trial", "4"]) == 1
    assert "FAIL  cpus" in capsys.readouterr().out
    with pytest.raises(UsageError, match="= 4 CPUs, this machine has 2"):
        resources.resources(options.parser(step2_rate.STUDY).parse_args(["--cpus-per-trial", "4"]))


def test_a_cluster_that_is_not_there(quiet, capsys):
    assert main(["doctor", "--address", "127.0.0.1:1"]) == 1
    assert "FAIL  cluster    127.0.0.1:1" in capsys.readouterr().out


def test_results_that_cannot_be_written_on_a_cluster(quiet, capsys):
    (quiet / "file").write_text("")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert main(["doctor", "--address", f"127.0.0.1:{server.server_port}", "--results-dir", "file/x"]) == 1
        server.shutdown()
    assert "FAIL  cluster    nodes were not asked" in capsys.readouterr().out


def test_summary():
    assert summary([ok("a", "b")]) == "ready to run"
    assert "1 to look at" in summary([ok("a", "b"), warn("a", "b", "c", "d")])


# a real cluster of one node


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def running(quiet, tmp_path_factory, monkeypatch):
    """A Ray head node with tokens, stopped by its own process group alone: `ray stop` would end every Ray of this
    user."""
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as place:  # Ray's sockets need a short path
        token = Path(place) / "token"
        token.write_text(SECRET)
        token.chmod(0o600)
        address = f"127.0.0.1:{free_port()}"
        settings = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TMPDIR": place,
            "PYTHONPATH": str(ROOT),
        }
        words = ["start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
        words += [
            f"--port={address.partition(':')[2]}",
            f"--temp-dir={place}/ray",
            f"--ray-client-server-port={free_port()}",
        ]
        words += [f"--dashboard-agent-listen-port={free_port()}", "--object-store-memory=80000000"]
        with (Path(place) / "log").open("w+") as log:
            command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *words]
            process = subprocess.Popen(
                command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )
            try:
                until = time.monotonic() + 180
                while "Ray runtime started" not in (Path(place) / "log").read_text():
                    assert process.poll() is None and time.monotonic() < until, (Path(place) / "log").read_text()
                    time.sleep(0.2)
                for name, value in settings.items():
                    monkeypatch.setenv(name, value)
                yield address
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would drain for 30 s
                process.wait(20)


def test_a_cluster_that_answers_late_is_not_one_that_is_absent(running, capsys):
    """Ray gives a head 5 seconds to answer and then ends the process with a line of C++; a busy machine takes
    longer."""
    gcs = next(pid for pid in processes.below(os.getpid()) if "gcs_server" in processes.title(pid).split(" ")[0])
    assert processes.freeze(gcs)
    thaw = threading.Timer(12, processes.thaw, (gcs,))
    thaw.start()
    try:
        assert main(["doctor", "--address", running]) == 0, capsys.readouterr().out
    finally:
        thaw.join()


def test_a_real_cluster(running, capsys, quiet):
    assert main(["doctor", "--address", running]) == 0
    out = capsys.readouterr().out
    assert "1 node, 2 CPUs, 0 GPUs: 2 trials of 1 CPU at once" in out
    assert "same versions" in out and "sees results and data, clock" in out and SECRET not in out
    assert main(["doctor", "--address", running, "--preset", "cifar100_aug_30", "--cpus-per-trial", "3"]) == 1
    out = capsys.readouterr().out
    assert "not one trial of 3 CPU could start" in out and "lacks cifar100" in out
    assert list(quiet.iterdir()) == []
