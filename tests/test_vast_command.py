"""``python -m clusters.vast``: nothing is spent unasked, nothing is claimed that was not listed."""

import json
import os
import stat
import subprocess
import sys
import time

import pytest
from aiohttp import web
from vast_emulator.laptop import ROOT
from vast_emulator.server import ACCOUNT_KEY, Emulator, offer, times

from clusters.vast.__main__ import COMMANDS, main
from clusters.vast.client import GAPS, Client
from clusters.vast.cluster_file import DEFAULT
from clusters.vast.command.planned import planned
from clusters.vast.errors import VastError

pytestmark = pytest.mark.heavy

ENV = {"STUDY_CLUSTER": "c", "STUDY_MAX_SECONDS": "7200", "STUDY_MONEY_SECONDS": "3600"}


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", ACCOUNT_KEY)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for name in GAPS:
        monkeypatch.setitem(GAPS, name, 0.0)
    monkeypatch.setattr("clusters.vast.client.FIRST_WAIT", 0.01)
    with Emulator(tmp_path / "e", containers=False, boot_seconds=0) as emulator:
        monkeypatch.setenv("VAST_URL", emulator.url)
        yield emulator


def rented(service, number=2, **environment):
    body = {"env": environment, "onstart": "", "label": "x", "disk": 20, "image": "a:b"}
    found = service.ledger.rentals[Client(ACCOUNT_KEY).rent(number, body)]
    while found.state != "running":
        time.sleep(0.01)
    return found


def test_offers_are_in_the_order_of_renting(service, capsys):
    assert main(["offers", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["offer"] for row in rows] == [3, 2, 4, 1]  # the dearer 4090 before the 3090
    assert main(["offers"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "offer",
        "gpus",
        "usd_per_hour",
        "usd_at_most",
        "reliability",
        "place",
    ]
    service.offers = [offer(1, price=9.0)]
    assert main(["offers"]) == 1 and "no offer within the limits" in capsys.readouterr().out
    assert service.ledger.rentals == {}


def test_list_and_cost_count_ours_only(service, capsys):
    assert main(["list"]) == 0 and capsys.readouterr().out == "0 instances\n"
    mine, _ = rented(service, 2, **ENV), rented(service, 3)
    mine.began -= 1800
    assert main(["list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cluster"] == "c" and row["status"] == "running" and row["usd_so_far"] == pytest.approx(0.21, abs=0.01)
    main(["list"])
    assert "1 more on the account are not this project's" in capsys.readouterr().out
    assert main(["cost"]) == 0
    said = capsys.readouterr().out
    assert (
        "0.21 USD so far, at most 0.42 USD" in said and "credit left: 25.00 USD" in said
    )  # an hour of money, not two of time
    assert main(["cost", "--json"]) == 0 and json.loads(capsys.readouterr().out)[0]["usd_at_most"] == pytest.approx(
        0.42
    )


@pytest.mark.parametrize("state", ["exited", "stopped", "offline", "unknown"])
def test_reap_ends_the_dead_and_proves_it(service, capsys, state):
    dead, alive = rented(service, 2, **ENV), rented(service, 3, **ENV)
    service.preempt(dead, state)
    assert main(["reap", "--yes"]) == 0
    assert "1 instance left" in capsys.readouterr().out and service.ledger.live() == [alive]
    assert main(["reap", "--all", "--yes"]) == 0
    assert "0 instances left" in capsys.readouterr().out and service.ledger.live() == []


def test_reap_ends_the_overdue(service, capsys):
    late = rented(service, 2, **ENV)
    late.began -= 7200 + 700
    loading = rented(service, 3, **ENV)
    loading.state, loading.began = "loading", loading.began - 3600
    assert main(["reap", "--yes"]) == 0 and service.ledger.live() == []
    assert "0 instances left" in capsys.readouterr().out


def test_reap_asks_and_does_not_pretend(service, capsys, monkeypatch):
    mine = rented(service, 2, **ENV)
    assert main(["reap", "--all"]) == 2  # nobody can answer
    assert "add --yes" in capsys.readouterr().err and service.ledger.live() == [mine]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, left in (("", 1), ("n", 1), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda _question, a=answer: a)
        assert main(["reap", "--all"]) == 0
        assert f"{left} instance{'' if left == 1 else 's'} left" in capsys.readouterr().out


def test_reap_says_what_did_not_go(service, capsys, monkeypatch):
    rented(service, 2, **ENV)
    monkeypatch.setattr("clusters.vast.command.reap.PATIENCE_SECONDS", 0)
    service.hooks.append(times(9, "DELETE", "/instances/", lambda: web.json_response({"success": True})))
    assert main(["reap", "--all", "--yes"]) == 1
    assert "1 instance left" in capsys.readouterr().out
    service.hooks[:] = [times(99, "GET", "/v1/instances", lambda: web.json_response({}))]
    assert main(["reap", "--yes"]) == 2
    out, err = capsys.readouterr()
    assert "left" not in out and "nothing is decided from it" in err


def test_doctor(service, capsys, tmp_path, monkeypatch):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "ready to run: ray up" in said and "at most 20 USD and 24 h" in said
    service.credit = 5
    assert main(["doctor"]) == 0 and "5.00 USD; less than max_usd" in capsys.readouterr().out
    service.credit = 0
    assert main(["doctor", "--json"]) == 1
    assert [row["check"] for row in json.loads(capsys.readouterr().out) if row["level"] == "FAIL"] == ["credit"]
    broken = tmp_path / "broken.yaml"
    broken.write_text(DEFAULT.read_text().replace("max_usd: 20", "max_usd: many"))
    monkeypatch.setenv("VAST_API_KEY", "wrong")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "--config", str(broken)]) == 1
    said = capsys.readouterr().out
    for part in ("rsync    not installed", "max_usd: 'many' must be a positive number", "401", "to fix: "):
        assert part in said, said


def test_ssh_logs_into_the_only_machine(service, capsys, tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    assert main(["ssh"]) == 2 and "no instance to log into; rent one with" in capsys.readouterr().err
    first = rented(service, 2, **ENV)
    words = [sys.executable, "-m", "clusters.vast", "ssh", "--", "nvidia-smi", "-L"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert "-p 22 root@127.0.0.1 nvidia-smi -L" in done.stdout, done.stderr
    second = rented(service, 3, **ENV)
    assert main(["ssh"]) == 2
    assert f"several instances; give one of {first.id}, {second.id}" in capsys.readouterr().err
    assert main(["ssh", "5"]) == 2 and "no instance 5" in capsys.readouterr().err


def test_a_machine_fetches_images_and_trains_on_its_gpu_and_none_is_rented_for_images_nobody_can_fetch():
    """What lies in this computer's data folder is not there: ``data/`` is not sent."""
    script = "studies/step2_rate.py"
    assert planned(script, ["--quick"]).added == []
    found = planned(script, ["--preset", "cifar100_aug_gate"])
    assert found.added == ["--download", "--gpus-per-trial", "1"]
    assert "absent" not in found.text and "1 CPU and 1 GPU per worker" in found.text
    as_told = ["--preset", "cifar100_aug_gate", "--download", "--gpus-per-trial", "0.5"]
    assert planned(script, as_told).added == []
    assert planned(script, [*as_told[:3], "runtime.device=cpu"]).added == []
    unfetched = ["--preset", "3diebench_rot", "data.pretrain_on=train", "--gpus-per-trial=0"]
    assert planned(script, [*unfetched, "--data-root", "/mnt/images"]).added == []
    with pytest.raises(
        VastError, match=r"on the machine: 3diebench: there is no .*by hand .*--data-root that file_mounts"
    ):
        planned(script, unfetched)


def test_waiting_for_a_service_that_does_not_answer_is_told(monkeypatch, capsys, service):
    monkeypatch.setattr("clusters.vast.client.PATIENCE", 3)
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9")
    assert main(["list"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "attempt 2 of 3 in 0 s" in lines[0] and "attempt 3 of 3" in lines[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsit"], "did you mean list?"),
        (["offers", "--config", "nothing.yaml"], "there is no such file"),
        (["reap", "--al"], "did you mean --all"),
    ],
)
def test_mistakes_are_one_line(service, capsys, words, message):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and service.requests == []
    assert main([]) == 2
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
