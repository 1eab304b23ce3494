"""What the engine advertises: named stops, brackets, samplers, Pareto, warm start, the dashboard's mirror, limits."""

import contextlib
import json
import math
import shutil
import sqlite3
from collections import Counter
from dataclasses import replace

import optuna
import pytest
from engine import make, plan, play, score_of, seen_of

from search_spaces import step2_rate as space
from studies.engine import warm_start
from studies.engine.budget import exhausted
from studies.engine.decisions import Decisions, comparable
from studies.engine.failures import PREEMPTIONS_WITHOUT_PROGRESS, Failures
from studies.engine.folder import agree
from studies.engine.job import Seen
from studies.engine.question import Question
from studies.engine.samplers import Sobol, _points
from studies.engine.sampling import Sampling
from studies.engine.settings import Limits
from studies.engine.stopping import Ladder
from studies.engine.stopping.asha import AshaStop
from studies.engine.stopping.ladder import bracket_name
from studies.replay.runs import read_runs
from studies.running.mirror import Mirror
from studies.running.packing import Packing
from studies.running.watchdog import Watchdog
from studies.step2_rate import STUDY
from trainer.command import results
from trainer.errors import UsageError

STATE = optuna.trial.TrialState


# --- named stops


def test_a_trial_whose_score_is_not_a_number_stops_at_once_with_that_reason(tmp_path):
    jobs = make(plan(tmp_path))
    job = jobs.next()
    assert not jobs.report(job.name, seen_of(job, 3))
    gone = Seen(4, None, 4, rank=9.0, objectives={"linacc": None})
    assert jobs.report(job.name, gone) and jobs.end(job.name, gone) == "diverged"
    assert jobs.decisions.of("stop")[0]["reason"] == "the score at epoch 4 is not finite"
    trial = jobs.search.sampling.trials()[0]
    assert trial.state == STATE.PRUNED and trial.intermediate_values == {0: 0.0}
    # between probe epochs the score is the last one and nothing new was measured
    other = jobs.next()
    assert not jobs.report(other.name, Seen(4, None, 0, rank=9.0))


def test_a_score_that_is_missing_at_a_rung_is_the_worst_there(tmp_path):
    jobs = make(plan(tmp_path))
    job = jobs.next()
    assert jobs.report(job.name, Seen(10, None, 9))
    assert "missing or not finite" in jobs.decisions.of("stop")[0]["reason"]


@pytest.mark.parametrize("floor, stops", [(1.5, True), (1.0, False), (0.0, False)])
def test_a_collapsed_trial_stops_with_that_reason_and_its_value(tmp_path, floor, stops):
    jobs = make(plan(tmp_path, collapse_rank=floor))
    job = jobs.next()
    early = Seen(5, 40.0, 5, rank=1.2, objectives={"linacc": 40.0})
    assert not jobs.report(job.name, early)  # before the first rung nobody is judged
    late = Seen(10, 41.0, 10, rank=1.2, objectives={"linacc": 41.0})
    assert jobs.report(job.name, late) == stops
    if stops:
        assert jobs.end(job.name, late) == "collapsed"
        assert (
            jobs.decisions.of("stop")[0]["reason"] == "collapsed: effective rank of z_agg 1.2 is below 1.5 at epoch 10"
        )
        assert jobs.search.sampling.trials()[0].intermediate_values == {10: 41.0}


def test_a_study_in_which_many_trials_diverge_finds_the_right_best(tmp_path):
    """Three in ten diverge, among them the ones that were ahead."""

    def seen(job, epoch):
        if job.trial is not None and job.trial % 10 in (0, 3, 6) and epoch >= 4:
            return Seen(epoch, None, 3, diverged=True)
        now = seen_of(job, epoch)
        return Seen(
            epoch,
            now.score + (20 if job.trial is not None and job.trial % 10 in (0, 3, 6) else 0),
            epoch,
            objectives=now.objectives,
        )

    jobs = make(plan(tmp_path, num_trials=30))
    play(jobs, seen=seen)
    states = Counter(jobs.states[f"t{number:03d}"] for number in range(30))
    assert states["diverged"] == 9 and states["complete"] + states["pruned"] == 21
    for teacher in space.TEACHERS:
        first = jobs.search.ranking(teacher)[0]
        ours = [
            job for job in jobs.search.trials.values() if job.group == teacher and jobs.states[job.name] == "complete"
        ]
        assert first.value == max(score_of(job, 30) for job in ours if job.overrides["objective.weights.rate"] > 0)
    told = Counter(trial.state for trial in jobs.search.sampling.trials())
    assert (
        told[STATE.COMPLETE] == states["complete"]
        and told[STATE.PRUNED] == 30 - states["complete"]
        and told[STATE.RUNNING] == 0
    )


# --- brackets and modes


def test_brackets_take_turns_and_start_at_later_rungs(tmp_path):
    assert [bracket_name("ema", AshaStop(30, 3, 3, 2).bracket(number)) for number in range(4)] == [
        "ema",
        "ema/1",
        "ema",
        "ema/1",
    ]
    ladder = Ladder(AshaStop(30, 3, 3))
    assert ladder.rungs_of("ema") == (3, 9) and ladder.rungs_of("ema/1") == (9,)
    jobs = make(plan(tmp_path, num_trials=12, grace=3, brackets=2))
    play(jobs)
    rungs = {(line["bracket"], line["rung"]) for line in jobs.decisions.of("rung")}
    assert {("stopgrad", 3), ("stopgrad/1", 9), ("ema", 3), ("ema/1", 9)} <= rungs
    assert not any(bracket.endswith("/1") and rung == 3 for bracket, rung in rungs)


def test_a_judgement_with_a_lag_ranks_among_the_trials_before_it_only():
    ladder = Ladder(AshaStop(6, 3, 3))
    ladder.put("", 0, 3, 50.0)
    ladder.put("", 4, 3, 90.0)
    ladder.put("", 5, 3, 80.0)
    assert not ladder.decide("", 3, 3, 60.0, lag=3).stop  # among 0 and itself
    assert ladder.decide("", 6, 3, 40.0, lag=3).stop and ladder.decide("", 3, 3, 60.0).stop


def test_deterministic_suggestions_wait_for_their_predecessors(tmp_path):
    jobs = make(plan(tmp_path, num_trials=6, lag=2, arms=()))
    first, second = jobs.next(), jobs.next()
    assert (first.trial, second.trial) == (0, 1) and jobs.next() is None and not jobs.done
    jobs.report(second.name, seen_of(second, 30))
    jobs.end(second.name, seen_of(second, 30))
    assert jobs.next() is None  # trial 2 depends on trial 0
    jobs.report(first.name, seen_of(first, 30))
    jobs.end(first.name, seen_of(first, 30))
    assert jobs.next().trial == 2


def test_the_order_of_ends_changes_nothing_in_deterministic_mode(tmp_path):
    found = []
    for name, turns, concurrent in (("a", None, 2), ("b", lambda names: names[::-1], 2), ("c", None, 4)):
        (tmp_path / name).mkdir()
        jobs = make(plan(tmp_path / name, num_trials=16, lag=4))
        play(jobs, turns=turns, concurrent=concurrent)
        jobs.comparison.write()
        kept = [
            comparable(line)
            for event in ("suggest", "rung", "stop", "finish", "select", "compare")
            for line in jobs.decisions.of(event)
        ]
        found.append(sorted(json.dumps(line, sort_keys=True) for line in kept))
        assert jobs.search.model_based >= 1
    assert found[0] == found[1] == found[2]


# --- samplers


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
def test_every_sampler_gives_its_own_points_and_the_same_ones_again(tmp_path, sampler):
    points = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        jobs = make(plan(tmp_path / name, num_trials=16, sampler=sampler, arms=(), lag=4))
        play(jobs)
        points.append([line["params"] for line in jobs.decisions.of("suggest")])
        sources = {line["source"] for line in jobs.decisions.of("suggest")}
    assert points[0] == points[1] and len({json.dumps(point) for point in points[0]}) == 16
    assert (
        sources == {"tpe": {"grid", "random", "model"}, "random": {"random"}, "qmc": {"qmc"}, "grid": {"grid"}}[sampler]
    )
    assert [point["teacher"] for point in points[0]] == ["stopgrad", "ema"] * 8


def test_samplers_differ():
    found = {
        sampler: Sampling(STUDY, 1000, sampler).suggest(0)[2]["lambda_rate"]
        for sampler in ("tpe", "random", "qmc", "grid")
    }
    assert len(set(found.values())) == 4


def test_the_model_follows_the_scores():
    """TPE after its start-up draws near the optimum; told the opposite scores it draws elsewhere."""

    def median(optimum):
        sampling = Sampling(STUDY, 5)
        weights = []
        for number in range(60):
            _, source, point = sampling.suggest(number)
            weight = max(point["lambda_rate"], 1e-4)
            sampling.tell(number, "complete", 30, {"linacc": -abs(math.log10(weight / optimum))})
            weights += [math.log10(weight)] if source == "model" else []
        return sorted(weights)[len(weights) // 2]

    assert abs(median(0.005) - math.log10(0.005)) < 0.5 and abs(median(0.5) - math.log10(0.5)) < 0.5


def test_qmc_fills_the_range_evenly_whatever_the_branch():
    sampling = Sampling(STUDY, 7, "qmc")
    points = [sampling.suggest(number)[2] for number in range(64)]
    logs = sorted(math.log10(max(point["lambda_rate"], 5e-4)) for point in points)
    gaps = [b - a for a, b in zip(logs, logs[1:], strict=False)]
    assert max(gaps[6:]) < 0.2  # 64 random draws leave gaps of more than that
    names = tuple(STUDY.ranges)
    assert Sobol(7, 3, names)._row == Sobol(7, 3, names)._row != Sobol(8, 3, names)._row
    # a long study's sequence begins with a short one's
    assert all((_points(7, 5, 6) == _points(7, 5, 8)[:64]).flatten())


def test_the_grid_is_complete_and_fair():
    points = STUDY.grid_points()
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points) == 36 + 180
    assert [point["teacher"] for point in points[:72]] == ["stopgrad", "ema"] * 36
    assert {point["lambda_rate"] for point in points} == {space.ZERO_FROM, *space.GRID["lambda_rate"]}


# --- Pareto


def test_a_pareto_search_tells_both_values_and_ranks_the_front_first(tmp_path):
    def seen(job, epoch):
        weight = max(job.overrides["objective.weights.rate"], 1e-3)
        r2 = 0.5 - 0.2 * math.log10(weight)  # falls with lambda, while accuracy peaks at 0.03
        now = seen_of(job, epoch)
        return Seen(epoch, now.score, epoch, rank=9.0, objectives={"linacc": now.score, "r2_action": r2})

    jobs = make(plan(tmp_path, num_trials=24, objectives=("linacc", "r2_action"), top_k=3))
    play(jobs, seen=seen)
    complete = [trial for trial in jobs.search.sampling.trials() if trial.state == STATE.COMPLETE]
    assert complete and all(len(trial.values) == 2 for trial in complete)
    ranked = [c for c in jobs.search.ranking("stopgrad") if c.state == "complete"]
    front = [
        c
        for c in ranked
        if not any(o.value >= c.value and o.objectives["r2_action"] > c.objectives["r2_action"] for o in ranked)
    ]
    assert [c.trial for c in ranked[: len(front)]] == [
        c.trial for c in sorted(front, key=lambda c: (-c.value, c.trial))
    ]
    assert ranked[0].value == max(c.value for c in ranked)  # by the stated scalar


# --- confirmation


def test_the_top_k_of_each_teacher_are_confirmed_with_their_search_scores(tmp_path):
    jobs = make(plan(tmp_path, num_trials=14, top_k=3))
    play(jobs)
    jobs.comparison.write()
    compared = jobs.decisions.of("compare")
    for teacher in space.TEACHERS:
        chosen = [line for line in compared if line["role"] in ("best", "candidate") and line["teacher"] == teacher]
        assert [line["place"] for line in chosen] == [1, 2, 3] and len({line["arm_id"] for line in chosen}) == 3
        assert [line["arm_id"] for line in chosen] == [
            jobs.plan.arm_id(arm) for arm in jobs.comparison.arms if arm.place and teacher in arm.key
        ]
        assert all(line["reference"] == chosen[0]["arm_id"] for line in chosen[1:])
        epochs = jobs.decisions.last("select", teacher=teacher)["epochs"]
        assert epochs == sorted(epochs, reverse=True)
    assert len({run for line in compared for run in line["runs"] if line["role"] != "untrained"}) == 2 * (1 + 2 * 4)


def test_qmc_draws_whole_numbers_and_steps_evenly():
    def space(trial):
        return {"n": trial.suggest_int("n", 2, 5), "even": trial.suggest_int("even", 0, 6, step=2),
            "size": trial.suggest_int("size", 1, 64, log=True),
                "share": trial.suggest_float("share", 0.0, 1.0, step=0.25)}  # fmt: skip

    sampling = Sampling(Question("q", "Which?", space=space), 1000, "qmc")
    drawn = [sampling.suggest(number)[2] for number in range(64)]
    for name, values in {"n": (2, 3, 4, 5), "even": (0, 2, 4, 6), "share": (0.0, 0.25, 0.5, 0.75, 1.0)}.items():
        counts = [sum(point[name] == value for point in drawn) for value in values]
        assert sum(counts) == 64 and max(counts) - min(counts) <= 2, (name, counts)
    sizes = [point["size"] for point in drawn]
    assert (
        all(isinstance(size, int) and 1 <= size <= 64 for size in sizes)
        and 28 <= sum(size <= 8 for size in sizes) <= 42
    )


# --- warm start


def finished_study(folder, created="2026-01-01T00:00:00Z", **changes):
    folder.mkdir(exist_ok=True)
    p = plan(folder, **changes)
    (folder / "study.json").write_text(json.dumps({**p.stored(), "created": created}))
    jobs = make(p)
    play(jobs)
    return p, jobs


def test_trials_of_an_earlier_study_stand_in_the_brackets_of_this_one(tmp_path):
    """Whatever its brackets were: one for all levels here, and fewer of them."""
    play(make(plan(tmp_path / "old", num_trials=12, grace=3, eta=3, brackets=2)))
    p = plan(tmp_path / "new", num_trials=6, grace=3, eta=3, together=True, warm_start=(str(tmp_path / "old"),))
    decisions = Decisions(p.folder)
    warm_start.absorb(p, decisions)
    of_old = [rung for line in decisions.of("warm") for rung, _ in line["rungs"]]
    decisions.close()
    jobs = make(p)
    play(jobs, until=3 * 2)
    first = jobs.decisions.of("rung")[0]
    assert first["bracket"] == "all" and first["peers"] == of_old.count(3) + 1 > 1


def test_a_warm_start_tells_the_sampler_and_repeats_no_grid_point(tmp_path):
    finished_study(tmp_path / "old", num_trials=12)
    (tmp_path / "new").mkdir()
    p = plan(tmp_path / "new", num_trials=6, warm_start=(str(tmp_path / "old"),))
    warm_start.check(p, STUDY)
    decisions = Decisions(p.folder)
    assert warm_start.absorb(p, decisions) == 12 == warm_start.absorb(p, decisions)
    jobs = make(p)
    assert len(jobs.search.sampling.trials()) == 12
    job = jobs.next()
    suggested = jobs.decisions.of("suggest")[0]
    old = [line["raw"] for line in decisions.of("warm")]
    assert job.trial == 0 and suggested["source"] == "model" and suggested["raw"] not in old
    # the earlier trials' rungs count, so the first new trial is judged at once
    assert jobs.report(job.name, Seen(10, 0.0, 10)) and jobs.decisions.of("rung")[0]["peers"] > 3
    # and a trial of the earlier study can be the best
    assert any(candidate.trial < 0 for candidate in jobs.search.ranking("ema"))


def test_an_earlier_study_and_its_copy_are_told_once(tmp_path):
    finished_study(tmp_path / "old")
    run = tmp_path / "old" / "runs" / "r" / "records.jsonl"
    run.parent.mkdir(parents=True, exist_ok=True)
    run.write_text("{}\n")
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    for twice in ("old", "link", "copy"):
        with pytest.raises(UsageError, match=r"holds the runs of .*; name each earlier study once"):
            given = tuple(str(tmp_path / name) for name in ("old", twice))
            warm_start.check(plan(tmp_path / "new", warm_start=given), STUDY)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"epochs": 20}, "epochs = 30"),
        ({"overrides": ["optim.lr=0.001"]}, "base_arm"),
        ({"grace": 5}, "rungs"),
        ({"search_seed": 5}, "search_seed"),
    ],
)
def test_a_warm_start_from_what_does_not_compare_is_refused(tmp_path, changes, words):
    finished_study(tmp_path / "old")
    with pytest.raises(UsageError, match=words):
        warm_start.check(plan(tmp_path / "new", warm_start=(str(tmp_path / "old"),), **changes), STUDY)
    with pytest.raises(UsageError, match="no readable study.json"):
        warm_start.check(plan(tmp_path / "new", warm_start=(str(tmp_path),)), STUDY)
    with pytest.raises(UsageError, match="--resume"):
        warm_start.check(plan(tmp_path / "old", warm_start=(str(tmp_path / "old"),)), STUDY)


def test_a_run_on_record_elsewhere_is_copied_whole_and_not_run(tmp_path):
    import kill_engine

    old = tmp_path / "old"
    kill_engine.run(old, 0)
    ended = next(
        path.parent.name for path in (old / "runs").glob("*/records.jsonl") if path.parent.name.endswith("-s1")
    )
    p = kill_engine.plan(
        tmp_path / "new",
        warm_start=(str(old),),
        epochs=6,
        grace=2,
        overrides=["schedule.horizon_epochs=6", "schedule.warmup_epochs=0"],
    )
    assert not warm_start.fetch(p, "0123456789-s0")
    assert warm_start.fetch(p, ended) and not warm_start.fetch(p, ended)
    copied = p.folder / "runs" / ended / "records.jsonl"
    assert copied.read_bytes() == (old / "runs" / ended / "records.jsonl").read_bytes()
    assert [path.name for path in copied.parent.parent.iterdir()] == [ended]


def test_a_copy_that_a_kill_left_half_made_is_not_read_and_removed_by_the_next_driver(tmp_path, monkeypatch):
    old, run = tmp_path / "old", "0123456789-s0"
    finished_study(old)
    line = {
        "schema_version": 1,
        "run_id": run,
        "arm_id": "0123456789",
        "seed": 0,
        "event": "epoch",
        "epoch": 1,
        "metrics": {},
    }
    (old / "runs" / run).mkdir(parents=True)
    (old / "runs" / run / "records.jsonl").write_text(json.dumps(line) + "\n")
    p = plan(tmp_path / "new", warm_start=(str(old),))
    runs = p.folder / "runs"
    with monkeypatch.context() as kill:
        kill.setattr(warm_start.Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            warm_start.fetch(p, run)
    assert list(runs.rglob("records.jsonl")) and not list(runs.glob("*/records.jsonl"))  # what the report reads
    with pytest.raises(UsageError, match="holds no records.jsonl"):
        read_runs([p.folder], "linacc/z_agg@M")
    (runs / f".{run}.77.tmp").mkdir()  # as former versions left them
    decisions = Decisions(p.folder)
    warm_start.absorb(p, decisions)
    assert list(runs.iterdir()) == [] and warm_start.fetch(p, run)
    assert [found.name for found in read_runs([p.folder], "linacc/z_agg@M")[0]] == [run]


def begun_with_a_warm_start(tmp_path):
    """An earlier study in a/old, and b/new that was begun with it and has suggested one trial."""
    for name in ("a", "b/new"):
        (tmp_path / name).mkdir(parents=True)
    finished_study(tmp_path / "a" / "old", study="old")
    p = plan(tmp_path / "b" / "new", warm_start=(str(tmp_path / "a" / "old"),))
    assert resumed(p, tmp_path / "a" / "old") == 6
    jobs = make(p)
    jobs.next()
    jobs.decisions.close()
    return p


def resumed(p, *folders):
    p = replace(p, search=replace(p.search, warm_start=tuple(map(str, folders))))
    warm_start.check(p, STUDY)
    agree(p)
    decisions = Decisions(p.folder)
    known = warm_start.absorb(p, decisions)
    decisions.close()
    return known


def without_identities(p):
    path = p.folder / "study.json"
    content = json.loads(path.read_text())
    del content["warm_from"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("former", [False, True])
def test_a_study_with_a_warm_start_goes_on_when_the_earlier_one_is_moved_or_gone(tmp_path, capsys, former):
    p = begun_with_a_warm_start(tmp_path)
    if former:
        without_identities(p)
    assert resumed(p, tmp_path / "a" / "old") == 6
    (tmp_path / "a").rename(tmp_path / "c")
    assert resumed(p, tmp_path / "c" / "old") == 6 and capsys.readouterr().err == ""
    assert json.loads((p.folder / "study.json").read_text())["warm_from"][0]["study"] == "old"
    shutil.rmtree(tmp_path / "c")
    assert resumed(p, tmp_path / "a" / "old") == 6  # wherever it was
    assert "is gone" in capsys.readouterr().err and not warm_start.fetch(p, "0123456789-s0")


@pytest.mark.parametrize("former", [False, True])
def test_another_earlier_study_than_at_the_beginning_is_refused(tmp_path, former):
    p = begun_with_a_warm_start(tmp_path)
    if former:
        without_identities(p)
    finished_study(tmp_path / "other", study="other")
    (tmp_path / "a" / "old").rename(tmp_path / "renamed")
    finished_study(tmp_path / "a" / "old", created="2026-02-02T00:00:00Z", study="old")  # at the same place
    wrong = [(tmp_path / "other",), (tmp_path / "gone",), (), (tmp_path / "renamed", tmp_path / "other")]
    for folders in wrong if former else [*wrong, (tmp_path / "a" / "old",)]:
        with pytest.raises(UsageError, match="search.warm_start|no readable"):
            resumed(p, *folders)
    assert resumed(p, tmp_path / "renamed") == 6


def test_an_earlier_study_that_is_gone_before_its_trials_are_told_is_missed(tmp_path):
    p = begun_with_a_warm_start(tmp_path)
    path = p.folder / "decisions.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if '"suggest"' not in line))
    (tmp_path / "a").rename(tmp_path / "c")
    with pytest.raises(UsageError, match="no readable study.json"):
        resumed(p, tmp_path / "a" / "old")


def test_trials_that_end_in_the_earlier_study_after_the_first_suggestion_are_not_told(tmp_path):
    p = begun_with_a_warm_start(tmp_path)
    old = make(plan(tmp_path / "a" / "old", study="old", num_trials=8))
    play(old)
    assert resumed(p, tmp_path / "a" / "old") == 6


def test_two_earlier_studies_of_one_name_are_told_apart_after_a_kill(tmp_path):
    for name in ("a/s", "b/s", "new"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a/s", "b/s"):
        finished_study(tmp_path / name)
    p = plan(tmp_path / "new", warm_start=(str(tmp_path / "a/s"), str(tmp_path / "b/s")))
    decisions = Decisions(p.folder)
    assert warm_start.absorb(p, decisions) == 12
    decisions.close()
    lines = decisions.path.read_text().splitlines(True)
    for kept in (6, 9):  # killed between the two, and in the second
        decisions.path.write_text("".join(lines[:kept]))
        again = Decisions(p.folder)
        assert warm_start.absorb(p, again) == 12 and [comparable(line) for line in again.events] == [
            comparable(line) for line in decisions.events
        ]
        again.close()
    for line in again.events:  # a record of the version before, which had no places
        del line["place"]
    decisions.path.write_text("".join(json.dumps(line) + "\n" for line in again.events))
    assert warm_start.absorb(p, Decisions(p.folder)) == 12


# --- the dashboard's storage: what it does when the file is at fault; test_mirror.py has what it shows


def test_a_mirror_that_cannot_be_written_is_given_up_and_the_study_goes_on(tmp_path, capsys):
    jobs = make(plan(tmp_path, num_trials=4))
    mirror = Mirror(jobs.plan, jobs.search.sampling)
    mirror._storage.engine.dispose()
    (tmp_path / "optuna.db").write_bytes(b"not a database" * 100)
    play(jobs)
    for _ in range(2):
        mirror.follow(jobs.decisions)
    assert capsys.readouterr().err.count("no more trials appear in it") == 1


def test_a_mirror_that_is_damaged_at_the_start_is_moved_aside_and_written_anew(tmp_path, capsys):
    jobs = make(plan(tmp_path, num_trials=4))
    play(jobs)
    path = tmp_path / "optuna.db"

    def mirrored():
        mirror = Mirror(jobs.plan, jobs.search.sampling)
        mirror.follow(jobs.decisions)
        mirror.close()
        return len(optuna.load_study(study_name="s", storage=f"sqlite:///{path}").get_trials())

    def foreign():
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE studies (name TEXT)")

    def newer():  # as a later Optuna would leave it
        Mirror(jobs.plan, jobs.search.sampling).close()
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")

    def another():  # a study of this name whose trials are not ours
        optuna.create_study(storage=f"sqlite:///{path}", study_name="s").optimize(lambda trial: 0.0, n_trials=1)

    for damage in (lambda: path.write_bytes(b"not a database" * 100), foreign, newer, another):
        path.unlink(missing_ok=True)
        damage()
        before = path.read_bytes()[:16]
        assert mirrored() == 4
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "moved to optuna.db.damaged" in err
        assert path.with_name("optuna.db.damaged").read_bytes().startswith(before)
    assert mirrored() == 4 and capsys.readouterr().err == ""


def test_a_mirror_that_cannot_be_opened_is_left_alone_and_given_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("studies.running.mirror.LOCK_SECONDS", 0.05)
    jobs = make(plan(tmp_path, num_trials=4))
    Mirror(jobs.plan, jobs.search.sampling).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        mirror = Mirror(jobs.plan, jobs.search.sampling)
    play(jobs)
    mirror.follow(jobs.decisions)
    mirror.close()
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "cannot be opened" in err and "locked" in err
    assert not (tmp_path / "optuna.db.damaged").exists()
    (tmp_path / "optuna.db").unlink()
    (tmp_path / "optuna.db").mkdir()
    Mirror(jobs.plan, jobs.search.sampling).follow(jobs.decisions)
    assert capsys.readouterr().err.count("cannot be opened") == 1


def test_a_study_deleted_in_the_dashboard_is_said_once_and_written_by_the_next_driver(tmp_path, capsys):
    jobs = make(plan(tmp_path, num_trials=4))
    mirror = Mirror(jobs.plan, jobs.search.sampling)
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.delete_study(study_name="s", storage=storage)
    play(jobs)
    for _ in range(2):
        mirror.follow(jobs.decisions)
    mirror.close()
    assert capsys.readouterr().err.count("deleting it in optuna-dashboard") == 1
    mirror = Mirror(jobs.plan, jobs.search.sampling)
    mirror.follow(jobs.decisions)
    mirror.close()
    assert len(optuna.load_study(study_name="s", storage=storage).get_trials()) == 4


# --- limits


def test_failures_are_forgiven_so_often_and_preemptions_not_counted(tmp_path):
    failures = Failures(2)
    assert [failures.note("a", "failed"), failures.note("a", "hung"), failures.note("a", "out_of_memory")] == [
        True,
        True,
        False,
    ]
    assert all(failures.note("b", "preempted") for _ in range(PREEMPTIONS_WITHOUT_PROGRESS)) and not failures.note(
        "b", "preempted"
    )
    for epoch in range(1, 100):
        failures.progressed("c", epoch)
        assert failures.note("c", "preempted")
    jobs = make(plan(tmp_path, retries=0))
    job = jobs.next()
    assert jobs.fail(job.name, "preempted", 3, "node lost") and jobs.next().name == job.name
    assert not jobs.fail(job.name, "out_of_memory", 3, "no memory left") and jobs.failed == 1
    assert jobs.states[job.name] == "out_of_memory"
    assert jobs.search.sampling.trials()[0].state == STATE.FAIL  # never a bad score
    assert [line["counted"] for line in jobs.decisions.of("fail")] == [False, True]


def test_a_failed_trial_does_not_hold_up_the_study_and_is_no_candidate(tmp_path):
    jobs = make(plan(tmp_path, retries=0, lag=2))
    job = jobs.next()
    jobs.fail(job.name, "failed", 0, "killed")
    play(jobs)
    assert jobs.done and jobs.left == 0 and job.trial not in [c.trial for c in jobs.search.ranking("stopgrad")]


def test_a_budget_stops_starting_and_says_which(tmp_path):
    assert exhausted(Limits(), 1e9, 1e9) is None
    assert exhausted(Limits(budget_hours=2), 7199, 0) is None and "--budget-hours 2" in exhausted(
        Limits(budget_hours=2), 7200, 0
    )
    assert exhausted(Limits(budget_usd=1, usd_per_hour=0.5), 7199, 0.99) is None
    assert "1.00 USD in 2.00 h" in exhausted(Limits(budget_usd=1, usd_per_hour=0.5), 7200, 1.0)
    now = [0.0]
    jobs = make(plan(tmp_path, budget_hours=1))
    jobs.decisions._clock, jobs.decisions._zero = lambda: now[0], 0.0
    job = jobs.next()
    now[0] = 3601.0
    assert jobs.next() is None and not jobs.done  # what runs may end
    jobs.report(job.name, seen_of(job, 30))
    jobs.end(job.name, seen_of(job, 30))
    assert jobs.done and jobs.left > 0 and "--budget-hours 1" in jobs.budget_reached


def test_time_and_money_spent_by_a_killed_session_count(tmp_path):
    first = Decisions(tmp_path, clock=iter([0.0, 0.0, 1800.0, 3000.0]).__next__)
    first.append("begin", usd_per_hour=1.2)
    first.append("tick")
    first.append("tick")
    first.close()
    again = Decisions(tmp_path, clock=iter([7.0, 3607.0]).__next__)
    assert again.spent(usd_per_hour=0.5) == (6600.0, pytest.approx(3000 / 3600 * 1.2 + 0.5))


def test_the_watchdog_knows_who_is_silent_and_when_nothing_can_start():
    now = [0.0]
    dog = Watchdog(60, clock=lambda: now[0])

    def until(seconds):
        while now[0] < seconds:  # it is asked several times a second
            now[0] = min(now[0] + 5, seconds)
            dog.hung()

    dog.heard("a")
    until(50)
    dog.heard("b")
    until(61)
    assert dog.hung() == ["a"] and not dog.stalled(waiting=1)
    dog.gone("a")
    dog.gone("b")
    assert not dog.stalled(waiting=1)
    for now[0] in range(65, 121, 5):
        assert not dog.stalled(waiting=1)
    now[0] = 122
    assert dog.stalled(waiting=1) and not dog.stalled(waiting=1)  # said once
    assert not dog.stalled(waiting=0)


def test_a_driver_that_was_stopped_takes_no_trial_for_hung():
    """Ctrl-Z for an hour: the trials waited for the driver, and their reports are read only now."""
    now = [0.0]
    dog = Watchdog(60, clock=lambda: now[0])
    dog.heard("a")
    now[0] = 3600.0
    assert dog.hung() == [] and not dog.waited(waiting=1, seconds=15)
    for _ in range(12):  # awake, a minute of silence is one
        now[0] += 5
        found = dog.hung()
    assert found == ["a"]


def test_waiting_is_said_early_once_and_again_after_something_ran():
    now = [0.0]
    dog = Watchdog(60, clock=lambda: now[0])
    assert not dog.waited(1, 15)
    said = []
    for now[0] in range(5, 100, 5):
        said.append((dog.waited(1, 15), dog.stalled(1)))
    assert sum(early for early, _ in said) == 1 and sum(late for _, late in said) == 1
    dog.heard("a")
    assert not dog.waited(1, 15)
    dog.gone("a")
    found = []
    for now[0] in range(100, 130, 5):
        found.append(dog.waited(1, 15))
    assert found.count(True) == 1


def test_a_gpu_is_shared_only_after_one_trial_alone_has_shown_its_memory():
    gib = 2**30
    packing = Packing(0.5)
    assert packing.may_start(0) and not packing.may_start(1) and packing.share == 0
    packing.take(
        {"repeated": True, "memory": {"peak_bytes": 1, "total_bytes": 80 * gib}}
    )  # a resumed run has not trained yet
    assert not packing.may_start(1)
    packing.take({"memory": {"peak_bytes": 10 * gib, "total_bytes": 80 * gib}})
    assert packing.may_start(1) and packing.share == 0.5
    with pytest.raises(UsageError, match="used no GPU"):
        Packing(0.5).take({"epoch": 1})
    with pytest.raises(UsageError, match="--gpus-per-trial"):
        Packing(0.25).take({"memory": {"peak_bytes": 30 * gib, "total_bytes": 80 * gib}})
    for share in (0, 1, 2):
        assert Packing(share).may_start(5) and Packing(share).share == 0


def test_a_full_disk_is_an_error_before_anything_acts_on_the_decision(tmp_path):
    decisions = Decisions(tmp_path)
    decisions._lines._file = open("/dev/full", "ab", buffering=0)
    with pytest.raises(OSError, match="No space left.*decisions.jsonl"):
        decisions.append("begin")
    assert decisions.events == [] and decisions.of("begin") == []


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(results.os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="is not writable; choose another with --results-dir"):
        results.writable(tmp_path / "s")
    assert not (tmp_path / "s").exists()
