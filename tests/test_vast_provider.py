"""What Ray sees of the service, without machines: tags, teardown, checks before anything is spent."""

import copy
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from aiohttp import web
from ray.autoscaler._private.util import hash_launch_conf, prepare_config, validate_config
from vast_emulator.server import ACCOUNT_KEY, Emulator, times

from clusters.vast import ssh_key
from clusters.vast.client import GAPS
from clusters.vast.errors import VastError
from clusters.vast.provider import VastNodeProvider

pytestmark = pytest.mark.heavy

CLUSTERS = Path(__file__).resolve().parent.parent / "clusters"
HEAD = {
    "ray-node-type": "head",
    "ray-user-node-type": "head",
    "ray-launch-config": "a" * 52,
    "ray-node-name": "ray-c-head",
    "ray-node-status": "uninitialized",
}


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", ACCOUNT_KEY)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in GAPS:
        monkeypatch.setitem(GAPS, name, 0.0)
    monkeypatch.setattr("clusters.vast.client.FIRST_WAIT", 0.01)
    monkeypatch.setattr("clusters.vast.rent.POLL_SECONDS", 0.05)
    with Emulator(tmp_path / "e", containers=False, boot_seconds=0) as emulator:
        monkeypatch.setenv("VAST_URL", emulator.url)
        yield emulator


def config():
    return yaml.safe_load((CLUSTERS / "vast.yaml").read_text())


def provider(monkeypatch, **changed):
    monkeypatch.setattr("clusters.vast.rent.machine_fault", lambda found, order: None)
    section = {**config()["provider"], "public_key": "ssh-ed25519 AAAA", "private_key_file": "/nowhere", **changed}
    return VastNodeProvider(section, "c")


def create(nodes):
    (node,) = nodes.create_node(config()["available_node_types"]["head"]["node_config"], HEAD, 1)
    return node


def test_tags_survive_the_process_and_the_fixed_ones_the_computer(service, monkeypatch, tmp_path):
    node = create(provider(monkeypatch))
    again = provider(monkeypatch)
    assert again.non_terminated_nodes({"ray-node-type": "head"}) == [node]
    assert again.node_tags(node) == HEAD
    again.set_node_tags(node, {"ray-node-status": "up-to-date"})
    assert provider(monkeypatch).node_tags(node)["ray-node-status"] == "up-to-date"
    (tmp_path / ".local" / "state" / "seq-jepa-studies" / "vast.json").unlink()
    fixed = {k: v for k, v in HEAD.items() if k != "ray-node-status"}
    assert provider(monkeypatch).node_tags(node) == fixed
    assert provider(monkeypatch).non_terminated_nodes({"ray-node-type": "worker"}) == []


def test_other_clusters_and_other_people_are_not_seen(service, monkeypatch):
    create(provider(monkeypatch))
    other = VastNodeProvider({**config()["provider"]}, "another")
    assert other.non_terminated_nodes({}) == [] == other.nodes_for_teardown({})


def test_dead_machines_are_deleted_on_sight_and_torn_down(service, monkeypatch):
    nodes = provider(monkeypatch)
    node = create(nodes)
    service.preempt(service.ledger.rentals[int(node)])
    assert nodes.nodes_for_teardown({}) == [node] and nodes.is_terminated(node) and not nodes.is_running(node)
    assert nodes.non_terminated_nodes({}) == [] and service.ledger.live() == []


def test_teardown(service, monkeypatch):
    nodes = provider(monkeypatch)
    node = create(nodes)
    assert nodes.is_running(node) and nodes.external_ip(node) == "127.0.0.1" and nodes.ssh_endpoint(node)[1] == 22
    nodes.terminate_nodes([node])
    nodes.terminate_node(node)  # twice is fine
    assert nodes.nodes_for_teardown({}) == [] and service.ledger.ended_by() == ["account"]


def test_a_listing_error_is_one_line_and_not_an_empty_cluster(service, monkeypatch):
    nodes = provider(monkeypatch)
    service.hooks.append(times(99, "GET", "/v1/instances", lambda: web.json_response({"instances": ""})))
    for ask in (nodes.non_terminated_nodes, nodes.nodes_for_teardown):
        with pytest.raises(click.ClickException, match="nothing is decided from it"):
            ask({})


def test_two_machines_at_once_are_refused(service, monkeypatch):
    with pytest.raises(click.ClickException, match="2 machines at once"):
        provider(monkeypatch).create_node({"image": "a:b", "disk_gb": 20}, HEAD, 2)


def test_the_file_is_what_ray_takes(service):
    ready = VastNodeProvider.bootstrap_config(prepare_config(config()))
    validate_config(ready)
    assert all(Path(source).is_absolute() and Path(source).exists() for source in ready["file_mounts"].values())
    assert not any(name in str(ready["file_mounts"]) for name in (".venv", "results", "/data'"))


def test_machines_of_ones_own_are_what_ray_takes():
    own = yaml.safe_load((CLUSTERS / "local.yaml").read_text())
    ready = prepare_config(copy.deepcopy(own))
    validate_config(ready)
    assert own["max_workers"] == len(own["provider"]["worker_ips"]) == ready["max_workers"]
    sources = [Path(source) for source in own["file_mounts"].values() if not source.startswith("~")]
    assert all((CLUSTERS.parent / source).exists() for source in sources)
    commands = [*ready["head_start_ray_commands"], *ready["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)


def test_limits_do_not_change_what_the_machine_is():
    """Ray ends and rents a machine again when this hash changes."""
    before, after = config(), config()
    after["provider"] |= {
        "max_usd": 1,
        "max_hours": 2,
        "gpus": [{"name": "RTX 3090", "count": 1, "max_usd_per_hour": 0.1}],
    }
    for c in (before, after):
        c["auth"]["ssh_private_key"] = str(CLUSTERS / "vast.yaml")
    node = [c["available_node_types"]["head"]["node_config"] for c in (before, after)]
    assert hash_launch_conf(node[0], before["auth"]) == hash_launch_conf(node[1], after["auth"])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("max_workers",), 2, "max_workers: 2 must be 0"),
        (("available_node_types", "head", "node_config", "image"), "x:latest", "must name a fixed tag"),
        (
            ("available_node_types", "head", "node_config", "disk_gb"),
            4,
            "disk_gb: 4 must be a whole number of at least 8",
        ),
        (("available_node_types", "head", "node_config", "max_usd"), 4, "limits belong under provider"),
        (("provider", "max_usd"), "lots", "provider.max_usd: 'lots' must be a positive number"),
        (("auth", "ssh_private_key"), "~/.ssh/id_ed25519", "is a personal key"),
        (("file_mounts", "~/study/x"), "nothing", "file_mounts: nothing"),
    ],
)
def test_wrong_files_are_one_line_and_cost_nothing(service, path, value, message):
    wrong = copy.deepcopy(config())
    at = wrong
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    with pytest.raises(click.ClickException) as error:
        VastNodeProvider.bootstrap_config(wrong)
    assert message in error.value.message and "\n" not in error.value.message
    assert service.requests == []


def test_the_projects_key_is_made_once_and_kept(tmp_path):
    file = tmp_path / "deep" / "key"
    public = ssh_key.ensure(str(file))
    assert public.startswith("ssh-ed25519 ") and ssh_key.ensure(str(file)) == public
    assert file.stat().st_mode & 0o077 == 0
    file.with_name("key.pub").unlink()
    with pytest.raises(VastError, match="key.pub is missing"):
        ssh_key.ensure(str(file))


def test_every_record_can_name_its_commit_there(tmp_path):
    """The setup command takes from .git what was not sent, and keeps what was changed here."""
    home, there = tmp_path / "home", tmp_path / "there"
    home.mkdir()
    there.mkdir()

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", *identity, *words],
            cwd=there,
            check=True,
            capture_output=True,
            text=True,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        ).stdout

    git("init", "-q")
    for name in ("sent", "changed", "not sent"):
        (there / name).write_text(name)
    git("add", "-A")
    git("commit", "-qm", "x")
    (there / "not sent").unlink()
    (there / "changed").write_text("other")
    command = config()["setup_commands"][0].replace("~/study", str(there))
    for _ in range(2):
        subprocess.run(["bash", "-c", command], check=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
        assert git("status", "--porcelain").split() == ["M", "changed"]


def test_without_git_setup_goes_on(tmp_path):
    command = config()["setup_commands"][0].replace("~/study", str(tmp_path))
    assert (
        subprocess.run(
            ["bash", "-c", command], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True
        ).returncode
        == 0
    )
