"""What --address reaches: a cluster with the right token, never another study's own Ray."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from faults import processes
from faults.study import ROOT, Study
from small import SMALL

from studies.executors import connection
from studies.executors.connection import cluster_here, own_token
from studies.executors.private_folder import write_private
from trainer.errors import UsageError

pytestmark = pytest.mark.heavy


def node(proc, number, gcs, session):
    folder = proc / str(number)
    folder.mkdir(parents=True)
    words = [
        "/x/raylet/raylet",
        f"--session_dir={session}",
        f"--gcs-address={gcs}",
        "--python_worker_command=python --gcs-address=other",
    ]
    (folder / "cmdline").write_bytes("\0".join(words).encode())


def test_auto_is_a_cluster_of_this_machine_and_never_a_studys_own_ray(tmp_path):
    proc, temporary = tmp_path / "proc", tmp_path / "tmp"
    (proc / "self").mkdir(parents=True)
    with pytest.raises(UsageError, match="no Ray cluster runs on this machine.*ray start --head"):
        cluster_here({}, proc, temporary)
    node(proc, 7, "h:1", "/tmp/sj-abcd_123/r/session_2026")
    with pytest.raises(UsageError, match="1 Ray here belongs to other studies"):
        cluster_here({}, proc, temporary)
    node(proc, 8, "h:2", "/tmp/ray/session_2026")
    assert cluster_here({}, proc, temporary) == "h:2"
    node(proc, 9, "h:3", "/tmp/ray/session_2027")
    (temporary / "ray").mkdir(parents=True)
    (temporary / "ray" / "ray_current_cluster").write_text("h:3\n")
    assert cluster_here({}, proc, temporary) == "h:3"
    (temporary / "ray" / "ray_current_cluster").write_text("h:1")  # private: it cannot be meant
    assert cluster_here({}, proc, temporary) in ("h:2", "h:3")
    assert cluster_here({"RAY_ADDRESS": "h:9"}, proc, temporary) == "h:9"


def test_the_environment_is_as_it_was_after_a_study_of_ones_own(tmp_path):
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "theirs", "RAY_ADDRESS": "h:1", "X": "1"}
    before = dict(environment)
    with own_token(tmp_path, environment):
        assert environment == {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "X": "1"}
        environment["RAY_AUTH_MODE"] = "token"  # as Ray does
    assert environment == before


def test_no_study_joins_anothers_ray_and_a_refused_token_is_named(tmp_path, monkeypatch):
    """One study runs; a second is told to join whatever there is, then exactly that one."""
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR"):
            monkeypatch.delenv(name, raising=False)
        token = Path(place) / "another"
        write_private(token, "0" * 64)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        first = Study(
            tmp_path / "first", "--num-trials", "8", "--stopping", "none", "--epochs", "30", "--seeds", "1", *SMALL
        ).start()
        try:
            first.until(lambda: first.epochs >= 1, "an epoch")
            (raylet,) = [
                pid
                for pid in processes.below(first.driver.pid)
                if processes.title(pid).split(" ")[0].endswith("/raylet")
            ]
            words = Path(f"/proc/{raylet}/cmdline").read_bytes().decode().split("\0")
            gcs = next(word.partition("=")[2] for word in words if word.startswith("--gcs-address="))
            addresses = [address for address, session in connection._nodes(Path("/proc")) if session.startswith(place)]
            assert addresses == [gcs]
            command = [
                sys.executable,
                str(ROOT / "studies" / "step2_rate.py"),
                "--results-dir",
                str(tmp_path / "second"),
                "--wandb",
                "off",
                "--across-commits",
            ]
            done = subprocess.run(
                [*command, "--address", gcs],
                capture_output=True,
                text=True,
                timeout=200,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 2 and "Traceback" not in done.stderr
            assert f"the cluster refused the token in {token}" in done.stderr and "RAY_AUTH_TOKEN_PATH" in done.stderr
            assert first.driver.poll() is None and first.decisions("fail") == []
        finally:
            first.kill()
