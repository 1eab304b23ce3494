"""The real ``ray`` commands against the emulated service: a study, its table at home, nothing left billing."""

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from vast_emulator.laptop import Laptop
from vast_emulator.marks import rents
from vast_emulator.server import ACCOUNT_KEY, Emulator

pytestmark = [pytest.mark.heavy, rents]
SECRETS = (ACCOUNT_KEY, "bucket-secret-51c", "wandb-key-8aa2")
STUDY = "step2_rate_digits_quick"


@pytest.fixture(scope="module")
def trip():
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    with Emulator(folder / "e") as emulator:
        laptop = Laptop(folder / "l", emulator, idle_minutes=3)
        laptop.ray("up", "-y")
        yield laptop, emulator, folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_command_runs_there_and_its_exit_code_comes_back(trip):
    laptop, emulator, _ = trip
    assert "there 42 0.4000" in laptop.ray("exec", "echo there $((6 * 7)) $STUDY_USD_PER_HOUR")
    laptop.ray("exec", "exit 3", code=1)
    assert "127.0.0.1" in laptop.ray("get-head-ip")
    (rental,) = emulator.ledger.live()
    assert (
        rental.offer["gpu_name"] == "RTX 4090" and rental.offer["dph_total"] == 0.40
    )  # the cheapest of the preferred card


def test_files_go_there_and_come_back(trip):
    laptop, _, folder = trip
    (folder / "up.txt").write_text("one")
    laptop.ray("rsync-up", str(folder / "up.txt"), "~/up.txt")
    laptop.ray("rsync-down", "~/up.txt", str(folder / "down.txt"))
    assert (folder / "down.txt").read_text() == "one"


def test_a_terminal_and_a_script_of_ones_own(trip):
    laptop, _, folder = trip
    done = subprocess.run(
        ["ray", "attach", str(laptop.yaml)],
        input="echo typed $((40 + 2)); exit\n",
        env=laptop.environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "typed 42" in done.stdout
    (folder / "script.py").write_text("import sys\nprint('submitted', sys.argv[1])\n")
    assert "submitted x" in laptop.ray("submit", str(folder / "script.py"), "x")


def test_a_command_goes_on_in_tmux(trip):
    laptop, emulator, _ = trip
    laptop.ray("exec", "--tmux", "echo $STUDY_USD_PER_HOUR > ~/from_tmux")
    (rental,) = emulator.ledger.live()
    written = rental.container.home / "from_tmux"
    deadline = time.time() + 30
    while not (written.exists() and written.read_text() == "0.4000\n"):
        assert time.time() < deadline
        time.sleep(0.1)


def test_only_ssh_listens_beyond_loopback(trip):
    laptop, _, _ = trip
    said = laptop.ray("exec", "cat /proc/net/tcp /proc/net/tcp6")
    listening = re.findall(r"^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:0000 0A", said, re.MULTILINE)
    assert listening
    own = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    beyond = {int(port, 16) for address, port in listening if address not in own}
    assert beyond <= {22}, beyond


def test_the_dashboard_wants_the_token_and_takes_jobs(trip):
    laptop, _, folder = trip
    laptop.ray("rsync-down", "~/.ray/auth_token", str(folder / "token"))
    token = (folder / "token").read_text().strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tunnel = laptop.start("ray", "dashboard", str(laptop.yaml), "-p", str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.time() + 60
        while True:
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token}"}),
                    timeout=5,
                ) as reply:
                    assert reply.status == 200
                    break
            except (OSError, urllib.error.URLError):
                assert time.time() < deadline
                time.sleep(0.5)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/api/version", timeout=5)
        assert refused.value.code == 401
        laptop.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        said = laptop.run("ray", "job", "submit", "--address", url, "--", "python", "-c", "print('job', 6 * 7)")
        assert "job 42" in said
    finally:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            laptop.environment.pop(name, None)
        laptop.end(tunnel)


def test_a_study_runs_to_its_table_and_its_records_come_home(trip):
    laptop, emulator, folder = trip
    said = laptop.ray(
        "exec",
        "cd ~/study && python studies/step2_rate.py --quick --num-trials 1 --epochs 1 --stopping none --seeds 1 "
        "--wandb off --address auto",
        seconds=300,
    )
    assert "z_agg" in said and "Report:" in said, said
    laptop.ray("rsync-down", "~/study/results/", str(folder / "results"))
    lines = [json.loads(line) for line in (folder / "results" / STUDY / "decisions.jsonl").read_text().splitlines()]
    assert [line["usd_per_hour"] for line in lines if line["event"] == "begin"] == [0.4]
    assert "z_agg" in laptop.run("python", "-m", "analysis", str(folder / "results" / STUDY))
    assert len(emulator.ledger.live()) == 1


def test_a_changed_limit_does_not_rent_again(trip):
    laptop, emulator, _ = trip
    laptop.config["provider"]["gpus"][0]["max_usd_per_hour"] = 0.55
    laptop.save()
    laptop.ray("up", "-y", "--no-restart")
    assert len(emulator.ledger.rentals) == 1


def test_no_secret_is_in_any_artefact(trip):
    _, emulator, folder = trip
    ours = folder / "l" / "home" / ".config" / "vastai" / "vast_api_key"
    found = []
    for file in folder.rglob("*"):
        if file.is_symlink() or not file.is_file() or file == ours:
            continue
        data = file.read_bytes()
        found += [f"{file}: {secret}" for secret in SECRETS if secret.encode() in data]
    assert found == []
    assert list((folder / "l" / "t").glob("ray-config-*"))  # the places that were looked at are there
    assert not any(secret in json.dumps(body) for _, _, _, body in emulator.requests for secret in SECRETS)


def test_down_leaves_nothing_and_the_cost_is_below_the_cap(trip):
    laptop, emulator, _ = trip
    laptop.ray("down", "-y")
    assert emulator.ledger.live() == []
    assert emulator.ledger.ended_by() == ["account"] and emulator.ledger.cost() < 20
