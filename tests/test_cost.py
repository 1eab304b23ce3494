"""Seconds, device-seconds and money of a study, against sums worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from test_analysis import Builder

from analysis.recorded.study import load
from analysis.report import report
from analysis.sentences.bill import costs
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import CUT, cost
from trainer.errors import UsageError


def begin(**more) -> dict:
    return {
        "event": "begin",
        "t": 0.0,
        "cores": 4,
        "concurrent": 2,
        "workers": 1,
        "gpus": 0.0,
        "cpus": 1,
        "usd_per_hour": 0.0,
    } | more


def start(t: float, name: str, trial: int | None = None) -> dict:
    return {"event": "start", "t": t, "name": name, "trial": trial}


def finish(t: float, name: str, trial: int | None = None, state: str = "complete") -> dict:
    return {
        "event": "finish",
        "t": t,
        "name": name,
        "trial": trial,
        "run_id": name,
        "epoch": 6,
        "value": 60.0,
        "state": state,
    }


def fail(t: float, name: str, kind: str, trial: int | None = None, again: bool = True) -> dict:
    return {"event": "fail", "t": t, "name": name, "trial": trial, "kind": kind, "counted": kind != "preempted",
        "again": again,
            "epoch": 1, "reason": "boom"}  # fmt: skip


def two_sessions(folder: Path, **of_begin) -> Builder:
    """A session at 3.6 USD per hour that was killed after its tick at 100 s, one of 50 s at 7.2 that ended."""
    study = Builder(folder, num_trials=1)
    study.trial(0, "stopgrad", 0.1, None, state="unfinished")
    a1, a2 = "a-best-1", "a-best-2"
    study.decide(
        begin(usd_per_hour=3.6, **of_begin),
        start(10, "t000", 0), fail(30, "t000", "preempted", 0), start(30, "t000", 0), {"event": "tick", "t": 100.0},
        # killed: trial 0 was held for 20 + 70 s
        begin(usd_per_hour=7.2, **of_begin),
        start(5, "t000", 0), finish(25, "t000", 0), start(20, a1), start(25, a2), finish(40, a1),
        fail(45, a2, "out_of_memory", again=False), finish(45, a2, state="out_of_memory"),
        {"event": "session", "t": 50.0, "seconds": 50.0, "cores": 4, "finished": True},
    )  # fmt: skip
    study.arm("a", "best", "stopgrad", 0.1, [60.0, "missing"])
    study.arm("n", "untrained", "stopgrad", 0.0, [50.0, 50.0])
    return study


@pytest.mark.parametrize(
    ("begins", "then", "attempts", "usd", "idle"),
    [
        # at 3600 USD per hour a second costs 1: one place idle for 60 s, then ten of which one is held for 60 s
        (1, [(60, 10)], [(60, 120)], 6, 114 / 120),
        (10, [(60, 0)], [(0, 60)], 6, 114 / 120),  # the machines went; what is paid is nobody's
        (0, [(20, 2)], [(20, 120)], 50, 70 / 120),  # on a cluster nothing is known before Ray answers
        (0, [], [], 0, 1),
        (2, [(40, 4)], [(20, 60)], 20 / 2 + 20 / 4, 105 / 120),  # held across the change
    ],
)
def test_places_come_and_go_and_the_parts_add_up(tmp_path, begins, then, attempts, usd, idle):
    study = Builder(tmp_path / "demo", num_trials=1)
    study.trial(0, "stopgrad", 0.1, None, state="unfinished")
    lines = [{"event": "capacity", "t": float(t), "concurrent": n} for t, n in then]
    for since, until in attempts:
        lines += [start(since, "t000", 0), finish(until, "t000", 0)]
    end = {"event": "session", "t": 120.0, "seconds": 120.0, "cores": 4, "finished": True}
    study.decide(begin(usd_per_hour=3600.0, concurrent=begins), *sorted(lines, key=lambda line: line["t"]), end)
    spent = cost(load(study.folder))
    assert spent.usd == 120 and spent.runs["usd"].sum() == pytest.approx(usd) and spent.idle == pytest.approx(idle)
    assert spent.runs["usd"].sum() + spent.usd * spent.idle == pytest.approx(spent.usd)


def test_killed_session_and_two_prices(tmp_path):
    found = load(two_sessions(tmp_path / "demo").folder)
    spent = cost(found)
    runs = spent.runs.set_index("name")
    assert runs["held_seconds"].to_dict() == {"t000": 20 + 70 + 20, "a-best-1": 20, "a-best-2": 20}
    assert runs["attempts"].to_dict() == {"t000": 3, "a-best-1": 1, "a-best-2": 1}
    assert runs["state"].to_dict() == {"t000": "complete", "a-best-1": "complete", "a-best-2": "out_of_memory"}
    # 3.6 USD per hour on two places are 0.0005 USD per second and place, 7.2 are 0.001
    assert runs["usd"].to_dict() == pytest.approx(
        {"t000": 90 * 0.0005 + 20 * 0.001, "a-best-1": 0.02, "a-best-2": 0.02}
    )
    assert spent.usd == pytest.approx(100 * 0.001 + 50 * 0.002) and spent.wall_seconds == 150
    assert spent.idle * spent.usd == pytest.approx(spent.usd - runs["usd"].sum())
    assert spent.lost == {"preempted": 1, CUT: 1, "out_of_memory": 1}
    table = comparison_table(found, spent)
    assert table["device_seconds"].tolist() == [40, 0] and table["usd"].tolist() == pytest.approx([0.04, 0])
    said = " ".join(costs(found, table, spent))
    assert (
        "in 2 sessions, 1 without an end on record" in said
        and "The study took 150 s" not in said
        and "took 2 min" in said
    )
    # half of the time is nobody's, whatever it cost, and so it does not contradict the money below
    assert "Of that time 50 % of the places had no run" in said
    # 95 of the 200 thousandths that the study cost are nobody's
    assert "cost 0.20 USD at 3.6 and 7.2 USD per hour: search 0.065, comparison 0.040, start-up and idle 0.095" in said
    assert "3 attempts were lost (1 out of memory, 1 preempted, 1 cut when a session ended)" in said
    assert "Most expensive arm of the comparison: stopgrad λ=0.1 (best), 0.011 core-hours, 0.040 USD" in said
    problem = " ".join(sentences(found, table, spent))
    assert "seed 2: not run (out of memory)" in problem and "INCOMPLETE" not in problem


@pytest.mark.parametrize(
    ("machine", "devices", "unit"),
    [
        ({"workers": 2, "cpus": 3}, 6, "core-hours"),
        ({"workers": 1, "cpus": 8, "gpus": 0.5}, 0.5, "GPU-hours"),
        ({"workers": 4, "cpus": 8, "gpus": 1.0}, 4, "GPU-hours"),
    ],
)
def test_devices(tmp_path, machine, devices, unit):
    found = load(two_sessions(tmp_path / "demo", **machine).folder)
    spent = cost(found)
    assert spent.runs["device_seconds"].tolist() == [110 * devices, 20 * devices, 20 * devices]
    assert unit in " ".join(costs(found, comparison_table(found, spent), spent))


def test_without_a_price_no_money(tmp_path):
    study = Builder(tmp_path / "demo")
    end = {"event": "session", "t": 80.0, "seconds": 80.0, "cores": 4, "finished": True}
    study.decide(begin(), start(0, "r"), finish(60, "r"), end)
    found = load(study.folder)
    spent = cost(found)
    assert math.isnan(spent.usd) and spent.runs["usd"].isna().all() and spent.runs["held_seconds"].tolist() == [60]
    assert spent.idle == pytest.approx(1 - 60 / 160)
    said = " ".join(costs(found, comparison_table(found, spent), spent))
    assert "USD" not in said and "62 % of the places had no run (start-up, idle)." in said


def test_mixed_devices_do_not_add_up(tmp_path):
    study = Builder(tmp_path / "demo")
    study.decide(begin(), start(0, "r"), {"event": "tick", "t": 60.0}, begin(gpus=1.0), start(0, "r"), finish(60, "r"))
    spent = cost(load(study.folder))
    assert spent.runs["held_seconds"].tolist() == [120] and spent.runs["device_seconds"].isna().all()


def test_files_and_a_study_without_times(tmp_path):
    study = two_sessions(tmp_path / "demo")
    report(study.folder)
    csv = pd.read_csv(study.folder / "report/cost.csv")
    assert list(csv) == ["name", "trial", "arm", "state", "attempts", "held_seconds", "device_seconds", "usd"]
    assert csv["arm"].tolist() == ["stopgrad λ=0.1", "stopgrad λ=0.1 (best)", "stopgrad λ=0.1 (best)"]
    assert pd.read_csv(study.folder / "report/table.csv")["device_seconds"].tolist() == [40, 0]
    old = Builder(tmp_path / "old")
    old.trial(0, "ema", 0.1, 60.0)
    old.arm("a", "best", "ema", 0.1, [60.0])
    old.decide({"event": "session", "seconds": 9.0, "cores": 2, "finished": True})
    report(old.folder)
    csv = pd.read_csv(old.folder / "report/cost.csv")
    assert csv[["attempts", "held_seconds", "device_seconds", "usd"]].isna().all(axis=None)
    assert csv["state"].tolist() == ["complete", "complete"]
    assert pd.read_csv(old.folder / "report/table.csv")[["device_seconds", "usd"]].isna().all(axis=None)
    assert "Cost unknown" in (old.folder / "report/table.md").read_text(encoding="utf-8")


def test_what_may_still_run_is_not_lost(tmp_path):
    study = Builder(tmp_path / "demo")
    study.decide(begin(), start(0, "r"), {"event": "tick", "t": 60.0})
    spent = cost(load(study.folder))
    assert (
        spent.runs["held_seconds"].tolist() == [60]
        and spent.runs["state"].tolist() == ["unfinished"]
        and not spent.lost
    )
    study.decide({"event": "session", "t": 70.0, "seconds": 70.0, "cores": 4, "finished": False})
    spent = cost(load(study.folder))
    assert spent.runs["held_seconds"].tolist() == [70] and spent.lost == {CUT: 1}  # interrupted


def test_a_spent_budget_is_named(tmp_path):
    limits = {"budget_hours": 0.02, "budget_usd": None, "usd_per_hour": 0.5}
    study = Builder(tmp_path / "demo", num_trials=4, confirm=["ema"], limits=limits)
    study.trial(0, "ema", 0.1, 60.0)
    study.decide(
        begin(), start(0, "t000", 0), {"event": "session", "t": 90.0, "seconds": 90.0, "cores": 4, "finished": False}
    )
    found = load(study.folder)
    said = sentences(found, comparison_table(found))
    assert said[1].startswith(
        "This study is INCOMPLETE because its budget is spent (0.025 of 0.02 hours): 3 of 4 trials have not ended"
    )
    assert "the best arms of ema are not chosen yet" in said[1]


@pytest.mark.parametrize(
    ("before", "now", "end", "reason"),
    [
        (
            3.0,
            0.5,
            {"budget": "--budget-usd 5 is spent (6.00 USD in 2.00 h)"},
            " because its budget is spent (6.03 of 5 USD)",
        ),
        (3.0, 0.5, None, " because its budget is spent (6.03 of 5 USD)"),  # the last driver was killed
        (0.5, 3.0, {"budget": None}, ""),  # 2 hours at 3 USD would be too much, but they cost half a dollar each
        (0.5, 3.0, None, ""),
        (3.0, 0.5, {"budget": None}, ""),  # interrupted before the driver noticed
    ],
)
def test_each_session_counts_at_its_own_price(tmp_path, before, now, end, reason):
    """Two hours, then a minute under another price: the report says what the driver said."""
    study = Builder(
        tmp_path / "demo", num_trials=4, limits={"budget_hours": None, "budget_usd": 5.0, "usd_per_hour": now}
    )
    study.trial(0, "ema", 0.1, 60.0)
    study.decide(
        begin(usd_per_hour=before),
        {"event": "tick", "t": 7200.0},
        begin(usd_per_hour=now),
        {"event": "tick", "t": 216.0},
    )
    if end is not None:
        study.decide({"event": "session", "t": 216.0, "seconds": 216.0, "cores": 4, "finished": False, **end})
    found = load(study.folder)
    assert sentences(found, comparison_table(found))[1].startswith(
        f"This study is INCOMPLETE{reason}: 3 of 4 trials have not ended"
    )


def test_a_rented_machine_names_its_price(monkeypatch):
    """What a study costs is known where it is known: nobody has to repeat it on the command line."""
    from studies.command.options import parser
    from studies.step2_rate import STUDY

    assert parser(STUDY).parse_args([]).usd_per_hour == 0.0
    monkeypatch.setenv("STUDY_USD_PER_HOUR", "0.4000")
    assert parser(STUDY).parse_args([]).usd_per_hour == 0.4
    assert parser(STUDY).parse_args(["--usd-per-hour", "2"]).usd_per_hour == 2.0
    monkeypatch.setenv("STUDY_USD_PER_HOUR", "cheap")
    with pytest.raises(UsageError, match="--usd-per-hour: invalid float value: 'cheap'"):
        parser(STUDY).parse_args([])
