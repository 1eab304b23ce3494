"""Where a running study can be looked at, and the page that it serves while it runs."""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from argparse import Namespace

import pytest
from engine import make, plan, play
from page_studies import half

from studies.command.follow import addresses, served
from studies.command.options import parser
from studies.step2_rate import STUDY


def test_the_block_names_what_opens_what(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = parser(STUDY).parse_args(["--quick"])
    lines = addresses(plan(tmp_path / "results" / "s"), options)
    assert [line.split()[0] for line in lines] == ["page", "search", "scalars", "nodes"]
    assert "python -m analysis live results/s, or --live" in lines[0]
    assert "optuna-dashboard sqlite:///results/s/optuna.db" in lines[1] and "--tensorboard writes" in lines[2]
    assert all(len(line) <= 120 for line in lines), "a line each"
    live = parser(STUDY).parse_args(["--live", "--dashboard"])
    lines = addresses(plan(tmp_path / "a b", num_trials=0, tensorboard=True), live)
    assert "served below" in lines[0] and "tensorboard --logdir 'a b'/runs" in lines[1] and "token follow" in lines[2]


def test_the_page_is_served_while_the_study_lasts(tmp_path):
    study, said = half(tmp_path / "study"), []
    with served(study.folder, False, said.append):
        pass
    with served(study.folder, True, said.append):
        deadline = time.monotonic() + 60
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = re.search(r"^page +(http://127\.0\.0\.1:\d+/\?token=\S+)$", said[0])[1]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address.partition("?")[0], timeout=30)
        assert refused.value.code == 403
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert "n = 3, 4 needed" in opener.open(address, timeout=60).read().decode()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"token=" in path.read_bytes()]


def test_a_page_that_cannot_be_served_is_said(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("studies.command.follow.ROOT", tmp_path)  # where no analysis lies
    monkeypatch.setattr("studies.command.follow.needed", lambda _: {"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "1"})
    monkeypatch.setattr("studies.command.follow.sys", Namespace(executable="/usr/bin/python3"))
    with served(tmp_path, True, said.append):
        deadline = time.monotonic() + 30
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert said[0].startswith("page       not served: ")


def test_arms_are_on_record_from_the_first_start(tmp_path):
    """Who looks on sees whom a running study compares; before anything has started nothing is decided."""
    jobs = make(plan(tmp_path))
    assert jobs.decisions.of("compare") == [] and not jobs.plan.begun
    first = jobs.next()
    assert jobs.decisions.of("compare") == []
    jobs.started(first.name)
    assert {line["role"] for line in jobs.decisions.of("compare")} == {"shared", "untrained"}
    jobs.running.clear()
    again = make(plan(tmp_path / "whole"))
    play(again)
    compared = again.decisions.of("compare")
    assert {line["role"] for line in compared} >= {"best", "lambda0"}
    last_trial = max(
        index
        for index, line in enumerate(again.decisions.events)
        if line["event"] == "finish" and line["trial"] is not None
    )
    first_run = next(
        index
        for index, line in enumerate(again.decisions.events)
        if line["event"] == "finish" and line["trial"] is None
    )
    where = again.decisions.events.index(next(line for line in compared if line["role"] == "best"))
    assert last_trial < where < first_run
    again.comparison.write()
    assert again.decisions.of("compare") == compared, "once"
