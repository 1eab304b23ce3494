"""Cluster files that no account was used for: what can be checked without one, by Ray's own readers of them."""

import copy
import re
from pathlib import Path

import click
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from test_vast_provider import HEAD, service  # noqa: F401 - a fixture
from vast_emulator.server import offer

from clusters.vast import cluster_file
from clusters.vast.provider import VastNodeProvider

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parent.parent
CLUSTERS = ROOT / "clusters"
FILES = sorted(CLUSTERS.glob("*.yaml"))
UNSEEN = ("local.yaml", "vast-overlay.yaml", "aws.yaml", "kuberay.yaml")


def read(name):
    return yaml.safe_load((CLUSTERS / name).read_text())


def test_what_was_never_run_says_so_in_its_first_line_and_on_the_page():
    page = (CLUSTERS / "README.md").read_text()
    for name in UNSEEN:
        assert (CLUSTERS / name).read_text().startswith("# NOT VERIFIED LIVE"), name
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert "| `" in row[3:], f"{name}: no command that verifies it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_secret_no_open_dashboard_and_a_token(file):
    text = file.read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert "0.0.0.0" not in text and ("dashboard-host=127.0.0.1" in text or "dashboard-host: 127.0.0.1" in text)
    assert "RAY_AUTH_MODE=token" in text or yaml.safe_load(text)["spec"]["authOptions"]["mode"] == "token"
    assert not re.search(r"AKIA|ASIA|(?i:secret|passw|api_key)[\w ]*[:=] *['\"]?\w{12}", "\n".join(lines))
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert all(version == pinned for version in re.findall(r"ray(?:Version)?[:=]+ ?(\d+\.\d+\.\d+)", text))


def test_several_rented_machines_share_a_network_and_no_more_than_the_limit(service, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    key = tmp_path / ".config" / "seq-jepa-studies" / "overlay_api_key"
    key.parent.mkdir(parents=True)
    key.write_text("a scoped key")
    ready = prepare_config(read("vast-overlay.yaml"))
    too_many = copy.deepcopy(ready)
    too_many["max_workers"] = 3
    with pytest.raises(click.ClickException, match="max_instances: 3 is less than the head and max_workers: 3"):
        VastNodeProvider.bootstrap_config(too_many)
    ready = VastNodeProvider.bootstrap_config(ready)
    validate_config(ready)
    cluster_file.load(CLUSTERS / "vast-overlay.yaml")
    monkeypatch.setattr("clusters.vast.rent.machine_fault", lambda found, order: None)
    service.offers = [offer(1, price=0.2), *(offer(n, price=0.4, cluster_id=1) for n in (2, 3, 4, 5))]
    nodes = VastNodeProvider(ready["provider"], ready["cluster_name"])
    head, worker = (ready["available_node_types"][kind]["node_config"] for kind in ("head", "worker"))
    nodes.create_node(head, HEAD, 1)
    made = nodes.create_node(worker, {**HEAD, "ray-node-type": "worker"}, 2)
    assert set(nodes.non_terminated_nodes({"ray-node-type": "worker"})) == set(made) and len(made) == 2
    assert {r.offer["cluster_id"] for r in service.ledger.live()} == {1}  # not the cheaper one elsewhere
    assert all(r.body["env"]["-n study"] == "1" for r in service.ledger.live())
    with pytest.raises(click.ClickException, match="max_instances is 3"):
        nodes.create_node(worker, HEAD, 1)
    nodes.terminate_nodes(nodes.nodes_for_teardown({}))
    assert service.ledger.live() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"overlay": "a b", "physical_cluster": 1}, "lower-case"), ({"overlay": "study"}, "belong together")],
)
def test_half_a_network_is_refused(wrong, said, tmp_path):
    raw = read("vast.yaml")
    raw["provider"] |= wrong
    file = tmp_path / "v.yaml"
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(Exception, match=said):
        cluster_file.load(file)


@pytest.fixture
def amazon(tmp_path, monkeypatch):
    from moto import mock_aws

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "emulated")
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.setattr("ray.autoscaler._private.aws.config.time.sleep", lambda seconds: None)
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield


def test_amazon_takes_the_machine_and_ends_it(amazon):
    """Ray's own bootstrap (key pair, network, roles) on an emulated EC2; the request against EC2's own description."""
    from botocore.session import get_session
    from botocore.validate import ParamValidator
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = read("aws.yaml")
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    ready = bootstrap_aws(prepared)
    node = ready["available_node_types"]["head"]["node_config"]
    assert node["InstanceInitiatedShutdownBehavior"] == "terminate" and node["SubnetIds"]
    assert any(command.startswith("sudo shutdown -h +") for command in config["setup_commands"])
    assert config["provider"]["cache_stopped_nodes"] is False and config["max_workers"] == 0
    shape = get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    asked = {**config["available_node_types"]["head"]["node_config"], "MinCount": 1, "MaxCount": 1}
    assert not ParamValidator().validate(asked, shape).has_errors()
    assert all((ROOT / source).exists() for source in config["file_mounts"].values() if source != ".git")
    nodes = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    nodes.create_node({**node, "ImageId": "ami-0abcdef1234567890"}, {"ray-node-type": "head"}, 1)
    (head,) = nodes.non_terminated_nodes({"ray-node-type": "head"})
    nodes.terminate_node(head)
    states = {i.state["Name"] for i in nodes.ec2.instances.all()}
    assert states <= {"shutting-down", "terminated"} and nodes.non_terminated_nodes({}) == []


def test_kubernetes_as_rays_autoscaler_reads_it():
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = read("kuberay.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    ready = _derive_autoscaling_config_from_ray_cr(cluster)
    kinds = ready["available_node_types"]
    assert kinds["gpu"]["resources"] == {"CPU": 8, "GPU": 1, "memory": 32 * 2**30} and kinds["gpu"]["max_workers"] == 2
    assert kinds[ready["head_node_type"]]["resources"]["CPU"] == 0 and ready["idle_timeout_minutes"] == 5
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert all(pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/results" for pod in pods)
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
