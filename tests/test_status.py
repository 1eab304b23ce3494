"""What runs, what it cost, and milestones that only records can move."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from test_analysis import Builder, full

import analysis
from analysis.__main__ import main
from analysis.tables.milestones import milestones
from analysis.tables.overview import running, studies_sheet
from trainer.errors import UsageError

NOW = datetime.now(UTC)
PLAN = analysis.REFERENCE / "milestones.json"


def begun(study: Builder, ago: float, *, price: float = 0.0, end: dict | None = None) -> None:
    """A session whose last line is ``ago`` seconds old."""
    at = NOW - timedelta(seconds=ago + 60)
    begin = {"event": "begin", "t": 0.0, "at": at.isoformat(), "cores": 4, "concurrent": 2, "workers": 1, "gpus": 0.0}
    study.decide(begin | {"cpus": 1, "usd_per_hour": price, "schema_version": 1}, {"event": "tick", "t": 60.0})
    if end is not None:
        study.decide({"event": "session", "t": 60.0, "seconds": 60.0, "cores": 4, "budget": None} | end)


def rows(*folders) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in studies_sheet(analysis.load(*folders), NOW).rows}


def test_states_and_cost(tmp_path):
    live, dead, done, cut = (Builder(tmp_path / name, study=name) for name in ("live", "dead", "done", "cut"))
    begun(live, 20, price=0.5)
    begun(dead, 7300, price=0.5)
    begun(done, 7300, end={"finished": True})
    begun(cut, 7300, end={"finished": False})
    found = rows(tmp_path)
    assert found["live"][0] == "running, 20 s ago"
    assert found["dead"][0] == "stopped 2.0 h ago: --resume"
    assert (found["done"][0], found["cut"][0]) == ("finished", "interrupted")
    said = running(analysis.load(tmp_path), NOW)
    assert len(said) == 3 and said[0].startswith("Running: live on 4 cores") and "0.50 USD per hour" in said[0]
    assert said[1] == "All studies took 4 min and 0.017 USD so far." and said[2] == "At this moment 0.50 USD per hour."
    assert running(analysis.load(tmp_path / "done"), NOW)[0] == "Nothing is running."
    assert running(analysis.load(), NOW) == ["Nothing is running."]


def test_trials_runs_and_verdicts(tmp_path):
    study = full(tmp_path / "demo")
    assert rows(study.folder)["demo"][1:4] == ["12/12", "18/18", "1 better, 2 not resolved"]


def plan(tmp_path, **need):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps([{"name": "M1", "title": "it", "needs": [{"about": "x", "where": {}} | need]}]))
    return path


def judged(folder, tmp_path, **need):
    return milestones(analysis.load(folder), plan(tmp_path, **need))[0].needs[0]


@pytest.fixture
def folder(tmp_path):
    """A study whose arms carry a width by arm: 1 for s1, 2 for e1, 0 for the others."""
    study = full(tmp_path / "demo")
    for path in (study.folder / "runs").glob("*/records.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0]["config"] |= {"model": {"width": {"s1": 1, "e1": 2}.get(lines[0]["arm_id"], 0)}}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study.folder


@pytest.mark.parametrize(
    ("need", "met", "found"),
    [
        ({"where": {"config.model.width": [1]}}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"where": {"config.model.width": {"above": 1}}}, True, "demo: ema λ=0.1 (best)"),
        ({"where": {"config.model.width": {"least": 3}}}, False, "no such arm"),
        ({"where": {"config.model.depth": [1]}}, False, "no such arm"),
        ({"seeds": 3}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"seeds": 4}, False, "3 of 4 seeds"),
        ({"where": {"config.model.width": [0]}, "gate": True}, False, "its runs do not meet it"),
        ({"where": {"config.model.width": [1]}, "gate": True}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"where": {"config.model.width": [0]}, "collapsed": False}, False, "its runs do not meet it"),
        ({"where": {"config.model.width": [1]}, "collapsed": False}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"values": {"config.model.width": 3}}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"values": {"config.model.width": 4}}, False, "3 of 4"),
        ({"metrics": ["linacc/z_agg@", "r2_action."]}, True, "demo: stopgrad λ=0.1 (best)"),
        ({"metrics": ["subspace"]}, False, "its runs do not meet it"),
        ({"where": {"config.model.width": [1]}, "answered": True}, True, "demo: coding rate, stopgrad, better"),
        # both sides of every contrast have it, so that none is about it
        ({"answered": True}, False, "no such contrast with a verdict"),
    ],
)
def test_each_kind_of_need(folder, tmp_path, need, met, found):
    one = judged(folder, tmp_path, **need)
    assert (one.met, one.found) == (met, found)


def test_too_few_seeds_decide_nothing(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0])
    study.arm("s1", "best", "stopgrad", 0.1, [60.0, 62.0], "s0")
    assert judged(study.folder, tmp_path, answered=True).found == "no such contrast with a verdict"


def test_runs_of_a_search_and_of_others_count_for_nothing(tmp_path):
    study = Builder(tmp_path / "demo")
    study.trial(0, "ema", 0.1, 60.0, arm_id="s1")
    study.run("t0", 60.0)
    found = milestones(analysis.load(study.folder, analysis.REFERENCE), plan(tmp_path))
    assert not found[0].needs[0].met


def test_the_plan_of_this_package(tmp_path):
    found = {one.name: one for one in milestones(analysis.load(full(tmp_path / "demo").folder), PLAN)}
    assert list(found) == ["M1", "M2", "M3", "M4", "M5", "M6"] and all(one.needs for one in found.values())
    assert all(found[name].state == "not begun" for name in ("M4", "M5", "M6"))
    assert all(not need.met for one in milestones(analysis.load(), PLAN) for need in one.needs)
    seen = {column for one in json.loads(PLAN.read_text()) for need in one["needs"] for column in need["where"]}
    from analysis.frames.build import flat
    from studies import step5_stream
    from trainer import presets

    on_a_stream = presets.load("digits", step5_stream.STUDY.overrides, step5_stream.REPLAY)
    known = set(flat(presets.load("digits").model_dump())) | set(flat(on_a_stream.model_dump()))
    assert seen <= known, seen - known


def test_the_command(tmp_path, capsys):
    full(tmp_path / "demo")
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 better, 2 not resolved" in shown and "M6 ToST aggregator" in shown
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{")
    assert main(["status", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "1 better" in shown.out and str(tmp_path / "broken") in shown.err and shown.err.count("\n") == 1
    with pytest.raises(UsageError):
        analysis.load(tmp_path, strict=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["status", str(empty)]) == 0 and "holds no study yet" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "nowhere")]) == 2 and "no such folder" in capsys.readouterr().err
