"""What --address reaches: a cluster, never another study's own Ray. That one's token is refused: test_lost_ray.py."""

import pytest

from studies.executors.connection import cluster_here, own_token
from trainer.errors import UsageError


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
