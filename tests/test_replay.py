"""Replay: curves whose answer is known by hand, through the study's own halving."""

import csv
import functools
import gzip
import json
import math
import random
import subprocess
import sys
import time
import tracemalloc
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from benchmarks.record_curves import PROBED, config, draws, pack
from scipy import stats

from studies import __main__ as studies_main
from studies import step2_rate
from studies.command import options as study_options
from studies.command import planning
from studies.engine.settings import Stopping
from studies.engine.stopping import Ladder
from studies.engine.stopping.asha import AshaStop
from studies.replay import command as replay_command
from studies.replay import report, schedulers, simulate
from studies.replay.compare import After, Interval, regret, replay
from studies.replay.curves import Curve, Recorded, complete, read_curves
from studies.replay.rungs import correlations, rung, verdict
from studies.replay.schedulers import FullLength, OneGate, Ruled, strategies
from studies.replay.simulate import Machine
from studies.replay.trials import Pool, Trials
from trainer import presets
from trainer.errors import UsageError
from trainer.record.identity import arm_id, run_id

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 30
NAN = math.nan


def trials(curves, seconds=1.0, brackets=None, diverged=()):
    """Trials in the given order; a curve is {epoch: value}, ``diverged`` gives the lengths of those that end early."""
    values = np.full((len(curves), EPOCHS + 1), NAN)
    for row, curve in zip(values, curves, strict=True):
        row[list(curve)] = list(curve.values())
    length = [dict(diverged).get(number, EPOCHS) for number in range(len(curves))]
    early = [number in dict(diverged) for number in range(len(curves))]
    seconds = [seconds] * len(curves) if isinstance(seconds, float) else seconds
    return Trials(values, length, early, seconds, brackets or [""] * len(curves), values[:, -1].copy())


def line(level):
    """A curve that keeps its rank everywhere."""
    return {epoch: level + epoch / 10 for epoch in range(EPOCHS + 1)}


class At(AshaStop):
    """Stop-only halving at given rungs."""

    def __init__(self, rungs, eta):
        self._given = rungs
        super().__init__(EPOCHS, rungs[0], eta)

    def epochs_judged(self):
        return self._given


def asha(t, rungs=(10,), eta=3):
    return Ruled(t, At(rungs, eta))


def gate(t, epoch, keep):
    rule = OneGate(EPOCHS, epoch)
    rule.keep = keep
    return Ruled(t, rule)


def run(t, scheduler, seed="0", **machine):
    return simulate.simulate(t, scheduler, Machine(**machine), seed)


def recorded(levels, seed=0):
    return Recorded(
        [Curve(f"a{n}-s{seed}", f"a{n}", seed, line(level), EPOCHS, False, 2.0) for n, level in enumerate(levels)],
        EPOCHS,
        "m",
    )


# --- one order


def test_epochs_equal_the_hand_count_and_depend_on_the_order():
    worst_first, best_first = trials([line(n) for n in range(9)]), trials([line(9 - n) for n in range(9)])
    for t in (worst_first, best_first):
        assert run(t, FullLength(t)).epochs == 9 * 30
        assert run(t, gate(t, 1, lambda n: 3)).epochs == 9 * 1 + 3 * 29
        assert run(t, gate(t, 10, lambda n: n // 3)).epochs == 9 * 10 + 3 * 20
    assert run(worst_first, asha(worst_first)).epochs == 9 * 30  # each newcomer is the best so far
    assert run(best_first, asha(best_first)).epochs == 30 + 8 * 10  # the first is never beaten
    assert run(best_first, asha(best_first, (3, 9))).epochs == 30 + 8 * 3
    assert run(best_first, asha(best_first)).decisions == 9


def test_curves_that_keep_their_rank_give_no_regret_to_anyone():
    rows = replay(
        Pool(recorded(range(12))),
        strategies(EPOCHS, ("top-k", "gate", "asha-stop"), (2, 3), (3, 10), (3,), (1, 3)),
        Machine(2),
        orders=40,
        seed=0,
    )
    assert len(rows) == 1 + 2 + 2 + 4
    for row in rows:
        assert (row.regret == 0).all() and row.found.all(), row.strategy.name


def test_curves_that_cross_after_the_rung_cost_asha_what_they_must():
    a, b, c = ({10: early, 30: late} for early, late in ((10, 50), (9, 60), (8, 70)))
    t = trials([a, b, c])
    outcome = run(t, asha(t))
    assert (outcome.epochs, outcome.picks, outcome.state) == (30 + 10 + 10, {"": 0}, ["complete", "pruned", "pruned"])
    other = trials([c, b, a])  # each is better at the rung than those before it: all go on
    outcome = run(other, asha(other))
    assert (outcome.epochs, outcome.picks) == (90, {"": 0})
    # over all six orders, by hand: c is lost unless it comes first
    curves = [Curve(name, name, 0, curve, EPOCHS, False) for name, curve in (("a", a), ("b", b), ("c", c))]
    row = replay(
        Pool(Recorded(curves, EPOCHS, "m")),
        strategies(EPOCHS, ("asha-stop",), (3,), (10,), (), ()),
        Machine(1),
        orders=300,
        seed=0,
    )[1]
    by_epochs = {(epochs, lost) for epochs, lost in zip(row.epochs, row.regret, strict=True)}
    assert by_epochs == {(50, 20), (70, 10), (70, 0), (90, 0)}  # abc, acb | bac, bca | cab | cba
    assert (row.regret == 0).mean() == pytest.approx(1 / 3, abs=0.1)


def test_two_workers_against_one():
    t = trials([line(n) for n in range(4)])
    assert run(t, FullLength(t), workers=1, startup=2.0).wall == 4 * 32
    assert run(t, FullLength(t), workers=2, startup=2.0).wall == 2 * 32
    assert run(t, FullLength(t), workers=9, startup=2.0).wall == 32
    assert run(t, FullLength(t), workers=2, startup=2.0).busy == 4 * 32
    # everyone waits for the gate, and going on from its checkpoint costs a start-up again
    assert (
        run(t, gate(t, 10, lambda n: 1), workers=2, startup=2.0).wall == 2 * 12 + 20
    )  # the last to arrive keeps its worker
    assert run(t, asha(t, (3, 9)), workers=4, startup=2.0).wall == 32  # going on past a rung costs none
    # the quick second trial is at the rung before the slow first one, so neither is stopped
    slow, quick = {10: 5, 30: 50}, {10: 4, 30: 40}
    t = trials([slow, quick], seconds=[10.0, 1.0])
    assert run(t, asha(t), workers=1).epochs == 40 and run(t, asha(t), workers=2).epochs == 60


def test_decisions_equal_those_of_halving_called_directly(monkeypatch):
    assert schedulers.Ladder is Ladder
    source = random.Random(1)
    for eta in (2, 3, 4):
        curves = [{e: NAN if source.random() < 0.1 else source.random() for e in range(EPOCHS + 1)} for _ in range(60)]
        brackets = [source.choice("ab") for _ in curves]
        t = trials(curves, brackets=brackets)
        outcome = run(t, asha(t, (3, 9), eta))
        ladder, at = Ladder(At((3, 9), eta)), []
        for number, curve in enumerate(curves):  # one worker: trial after trial
            stops = (ladder.decide(brackets[number], number, epoch, curve[epoch]).stop for epoch in (3, 9))
            at.append(3 if next(stops) else 9 if next(stops) else 30)
        assert outcome.at == at and outcome.epochs == sum(at) and len(set(at)) == 3


def test_nan_is_worst():
    t = trials([{10: NAN, 30: 99.0}, line(1), {10: 50.0, 30: NAN}, {10: math.inf, 30: 100.0}])
    stopped = run(t, asha(t))
    assert stopped.at[0] == 10 and stopped.state[0] == "pruned" and stopped.at[3] == 10
    assert stopped.picks == {"": 1}  # trial 2 reached the end without a value
    assert run(t, gate(t, 10, lambda n: 4)).at == [10, 30, 30, 10]
    assert run(t, FullLength(t)).picks == {"": 3}
    equal = trials([line(1), line(1)])
    assert run(equal, FullLength(equal)).picks == {"": 0}  # of equals the first
    nothing = trials([{10: NAN, 30: NAN}])
    assert run(nothing, FullLength(nothing)).picks == {"": None}


def test_a_diverged_trial_ends_there_and_is_no_peer():
    t = trials([line(5), line(9), line(3), line(4)], diverged={1: 7})
    outcome = run(t, asha(t))
    assert outcome.state[1] == "diverged" and outcome.at[1] == 7 and outcome.decisions == 3 and outcome.picks == {"": 0}
    outcome = run(t, gate(t, 10, lambda n: n // 3))
    assert outcome.epochs == 3 * 10 + 7 + 20 and outcome.picks == {"": 0}
    assert run(t, FullLength(t)).epochs == 3 * 30 + 7


# --- failures and preemptions


class Scripted:
    """Stands for random.Random: the times to the next interruption, in seconds, then never."""

    times: deque = deque()

    def __init__(self, seed):
        pass

    def expovariate(self, rate):
        return self.times.popleft() if self.times else math.inf


@pytest.mark.parametrize("kind", ["failures", "preemptions"])
def test_an_interrupted_trial_is_run_again_from_its_last_checkpoint(monkeypatch, kind):
    monkeypatch.setattr(simulate, "Random", Scripted)
    t = trials([line(1)])
    Scripted.times = deque([2 + 7.5])  # in the eighth epoch, after 2 s of start-up
    outcome = run(t, FullLength(t), startup=2.0, checkpoint_every=3, **{kind: 1.0})
    assert (outcome.epochs, outcome.again) == (7 + 24, 1)  # back to the checkpoint of epoch 6
    assert (
        outcome.wall == outcome.busy == 9.5 + 2 + 24 and outcome.state == ["complete"] and getattr(outcome, kind) == 1
    )
    Scripted.times = deque([1.0])  # while starting: nothing is lost but time
    outcome = run(t, FullLength(t), startup=2.0, checkpoint_every=3, **{kind: 1.0})
    assert (outcome.epochs, outcome.again, outcome.wall) == (30, 0, 33)
    Scripted.times = deque([9.5] * 2)  # no failure is forgiven, every preemption is
    outcome = run(t, FullLength(t), startup=2.0, retries=0, **{kind: 1.0})
    assert (outcome.state, outcome.picks) == (
        (["failed"], {"": None}) if kind == "failures" else (["complete"], {"": 0})
    )


def test_an_interruption_after_a_rung_does_not_decide_it_again(monkeypatch):
    monkeypatch.setattr(simulate, "Random", Scripted)
    t = trials([line(1)])
    Scripted.times = deque([math.inf, 4.5])  # to the rung without trouble, then in epoch 15
    outcome = run(t, asha(t), preemptions=1.0, checkpoint_every=20)
    assert (outcome.epochs, outcome.again, outcome.decisions, outcome.state) == (14 + 30, 14, 1, ["complete"])


def test_a_trial_that_failed_too_often_was_not_run(monkeypatch):
    monkeypatch.setattr(simulate, "Random", Scripted)
    t = trials([line(9), line(1), line(5)])
    for make, at in ((FullLength, 30), (lambda t: gate(t, 10, lambda n: 1), 30), (asha, 30)):
        Scripted.times = deque([5.5])
        outcome = run(t, make(t), failures=1.0, retries=0)
        assert outcome.state[0] == "failed" and outcome.at[0] == 5 and outcome.picks == {"": 2} and outcome.at[2] == at


@pytest.mark.parametrize("every", [1, 4, 7])
def test_preemptions_lose_less_than_a_checkpoint_interval_and_change_no_decision_on_one_worker(every):
    source = random.Random(2)
    t = trials([{e: source.random() for e in range(EPOCHS + 1)} for _ in range(40)], seconds=60.0)
    calm = run(t, FullLength(t))
    rough = run(t, FullLength(t), preemptions=3.0, checkpoint_every=every, startup=5.0)
    assert rough.preemptions > 20 and rough.failures == 0 and rough.state == calm.state and rough.picks == calm.picks
    assert rough.epochs == calm.epochs + rough.again and rough.again <= rough.preemptions * (every - 1)
    assert (rough.again == 0) == (every == 1) and rough.wall > calm.wall
    halved = run(t, asha(t), preemptions=3.0, checkpoint_every=every)
    assert halved.decisions == 40 and halved.epochs - halved.again == sum(halved.at)


def test_interruptions_without_end_are_an_error():
    t = trials([line(1)], seconds=3600.0)
    with pytest.raises(UsageError, match="no checkpoint is reached"):
        run(t, FullLength(t), preemptions=100.0)


# --- many orders


def test_intervals_are_students():
    values = np.random.default_rng(0).normal(size=12)
    found = Interval.of(np.append(values, NAN))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 11, values.mean(), stats.sem(values)))
    assert math.isnan(Interval.of(values[:2]).low)


def test_the_same_seed_gives_the_same_numbers_and_all_strategies_the_same_orders():
    source = random.Random(3)
    curves = [
        Curve(f"r{n}", f"r{n}", 0, {e: source.random() for e in range(EPOCHS + 1)}, EPOCHS, False, 60.0)
        for n in range(12)
    ]
    pool, compared = Pool(Recorded(curves, EPOCHS, "m")), strategies(EPOCHS, ("asha-stop",), (3,), (3,), (), ())
    rows = [
        replay(pool, compared + compared[1:], Machine(2, preemptions=2.0), orders=20, seed=seed) for seed in (0, 0, 1)
    ]
    assert (rows[0][1].epochs == rows[1][1].epochs).all() and (rows[0][1].wall == rows[1][1].wall).all()
    assert (rows[0][1].epochs != rows[2][1].epochs).any()
    assert (rows[0][1].wall == rows[0][2].wall).all()  # twice the same strategy
    alone = replay(Pool(recorded([1.0])), compared, Machine(1, preemptions=60.0), orders=20, seed=0)[0]
    assert alone.wall.std() > 0  # each order has interruptions of its own


def test_controls_and_confirmation_are_added():
    after = After(arms=2, twins=2, controls=1, seeds=3, race=0)
    assert (
        After(arms=2, twins=1, seeds=3, race=2).runs == 14
        and after.runs == 15
        and after.wall(30, 2.0, Machine(4, startup=3.0)) == 4 * 63
    )
    row = replay(
        Pool(recorded(range(4))), strategies(EPOCHS, (), (), (), (), ()), Machine(2), orders=3, seed=0, after=after
    )[0]
    assert row.after_epochs == 450 and (row.epochs == 120).all() and (row.after_wall == 8 * 60).all()


def test_what_follows_a_search_is_by_default_what_the_default_study_compares():
    planned = planning.make_plan(study_options.parser(step2_rate.STUDY).parse_args([]), step2_rate.STUDY)
    o = replay_command.parser().parse_args(["records"])
    asked = After(o.confirm_arms, o.twins, o.controls, o.confirm_seeds, o.race_runs)
    assert After() == asked and asked.runs == planned.race_runs + planned.comparison_runs == 26
    assert asked.arms + asked.twins == planned.chosen and asked.twins == len(planned.confirm)


def test_an_arm_with_several_seeds_is_drawn_by_run_and_judged_by_their_mean():
    ends = {"a": (10, 0), "b": (6, 6)}
    curves = [
        Curve(f"{arm}{s}", arm, s, {30: v}, EPOCHS, False) for arm, values in ends.items() for s, v in enumerate(values)
    ]
    rows = replay(
        Pool(Recorded(curves, EPOCHS, "m")), strategies(EPOCHS, (), (), (), (), ()), Machine(1), orders=200, seed=0
    )
    assert (
        set(rows[0].regret) == {0.0, 1.0} and 0.35 < rows[0].regret.mean() < 0.65
    )  # a is picked when its lucky run is drawn


def test_resampled_trials_have_the_noise_asked_for():
    pool = Pool(recorded([0.0]))
    t = pool.resample(np.random.default_rng(0), 4000, 0.5)
    moved = t.values - pool.values
    assert moved.std() == pytest.approx(0.5 * math.sqrt(2), rel=0.05)
    assert np.corrcoef(moved[:, 1], moved[:, 30])[0, 1] == pytest.approx(0.5, abs=0.05)
    assert (t.truth == t.values[:, -1]).all() and (
        pool.resample(np.random.default_rng(0), 5, 0.0).values == pool.values
    ).all()


# --- rank correlation


def test_correlations_equal_scipys_with_ties_and_nan_as_worst():
    source = np.random.default_rng(0)
    a, b = source.integers(0, 8, 40).astype(float), source.integers(0, 8, 40).astype(float)
    assert correlations(a, b) == pytest.approx((stats.spearmanr(a, b).statistic, stats.kendalltau(a, b).statistic))
    worst, low = a.copy(), a.copy()
    worst[:5], low[:5] = -np.inf, -1e6
    assert correlations(worst, b) == pytest.approx(correlations(low, b))
    assert all(math.isnan(value) for value in correlations(np.ones(5), b[:5]))


def test_verdicts_on_a_rung():
    kept = rung(Pool(recorded(range(12))), 10, 0)
    assert (
        kept.verdict == "valid"
        and kept.rho_low == pytest.approx(1)
        and kept.tau_low == pytest.approx(1)
        and kept.best_rank == 1
    )
    assert rung(Pool(recorded(range(9))), 10, 0).verdict == "cannot tell with 9 arms"
    turned = [Curve(f"r{n}", f"r{n}", 0, {10: n, 30: -n}, EPOCHS, False) for n in range(12)]
    found = rung(Pool(Recorded(turned, EPOCHS, "m")), 10, 0)
    assert found.verdict == "not valid" and (found.rho, found.tau) == pytest.approx((-1, -1)) and found.best_rank == 12
    source = random.Random(0)
    vague = [Curve(f"r{n}", f"r{n}", 0, {10: n + source.gauss(0, 4), 30: n}, EPOCHS, False) for n in range(12)]
    assert rung(Pool(Recorded(vague, EPOCHS, "m")), 10, 0).verdict == "cannot tell with 12 arms"
    late_nan = [Curve(f"r{n}", f"r{n}", 0, {10: n, 30: NAN if n == 11 else n}, EPOCHS, False) for n in range(12)]
    worst_last = stats.spearmanr(range(12), [*range(1, 12), 0]).statistic  # the best at epoch 10 ends without a value
    assert rung(Pool(Recorded(late_nan, EPOCHS, "m")), 10, 0).rho == pytest.approx(worst_last)
    assert [verdict(50, 0.6, 0.9), verdict(50, 0.3, 0.59), verdict(50, 0.5, 0.7), verdict(50, NAN, NAN)] == [
        "valid",
        "not valid",
        "cannot tell with 50 arms",
        "cannot tell with 50 arms",
    ]


def test_curves_below_their_untrained_start_are_counted():
    curves = [
        Curve(f"r{n}", f"r{n}", 0, {0: 50.0, 1: 40.0, 10: 50.0 - n, 30: 60.0 + n}, EPOCHS, False) for n in range(-4, 8)
    ]
    pool = Pool(Recorded(curves, EPOCHS, "m"))
    found = [rung(pool, epoch, 0, 10) for epoch in (1, 10)]
    assert [(r.below_start, r.best_below_start) for r in found] == [(1.0, 1.0), (pytest.approx(7 / 12), 1.0)]
    without = Pool(recorded(range(12)))
    without.values[:, 0] = NAN
    assert math.isnan(rung(without, 10, 0, 10).below_start)


# --- brackets


def test_with_brackets_regret_is_the_mean_of_theirs():
    a, b = {10: 9, 30: 50}, {10: 8, 30: 58}  # the order turns within bracket x and holds in y
    t = trials([a, b, line(5), line(3)], brackets=["x", "x", "y", "y"])
    outcome = run(t, asha(t))
    assert outcome.picks == {"x": 0, "y": 2} and regret(t, outcome.picks) == 8 / 2
    assert regret(t, {"x": 1, "y": 2}) == 0 and math.isnan(regret(t, {"x": 1, "y": None}))


# --- records


class Study:
    """Writes runs in the record format."""

    def __init__(self, folder):
        self.folder = folder

    def run(
        self,
        arm,
        curve,
        *,
        seed=0,
        stop="completed",
        split="validation",
        test_rows=0,
        teacher="ema",
        horizon=30,
        name="digits",
        probe_bn="eval",
        config=True,
    ):
        run_id = f"{arm}-s{seed}"
        common = {"schema_version": 1, "study": "s", "run_id": run_id, "arm_id": arm, "seed": seed, "attempt": 1}
        lines = [{**common, "event": "epoch", "epoch": 1, "split": "train", "metrics": {}}]
        for epoch, value in curve.items():
            metrics = (
                {"linacc_live/z_agg@3": 1.0}
                if value == "absent"
                else {"linacc/z_agg@3": value, "linacc_live/z_agg@3": 100 - (value or 0)}
            )
            lines.append(
                {
                    **common,
                    "event": "eval",
                    "epoch": epoch,
                    "split": split,
                    "metrics": metrics,
                    "seconds": {"train": 2.0, "probes": 0.5},
                }
            )
        lines += [
            {**common, "event": "eval", "epoch": 30, "split": "test", "metrics": {"linacc/z_agg@3": 99.0}}
            for _ in range(test_rows)
        ]
        if stop:
            lines.append(
                {
                    **common,
                    "event": "stop",
                    "epoch": max(curve, default=0),
                    "split": None,
                    "reason": stop,
                    "metrics": {},
                }
            )
        if config:
            lines[1 if curve else 0]["config"] = {
                "data": {"name": name, "observed_views": 3},
                "schedule": {"horizon_epochs": horizon},
                "objective": {"teacher": teacher},
                "eval": {"probe_bn": probe_bn},
            }
        path = self.folder / "runs" / run_id / "records.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return path


def test_only_full_length_validation_curves_are_used_and_the_others_named(tmp_path):
    study = Study(tmp_path)
    study.run("full", line(1), test_rows=2)
    study.run("full", line(2), seed=1)
    study.run("null", {**line(2), 10: None})
    study.run("pruned", dict.fromkeys(range(11), 5.0), stop=None)
    study.run("tested", line(90), split="test")
    study.run("empty", {})
    study.run("broken", line(3), config=False)
    study.run("unmeasured", {**line(3), 30: "absent"})
    study.run("diverged", dict.fromkeys(range(8), 5.0), stop="diverged by step 130: the loss is not finite")
    found = read_curves([tmp_path])
    assert {c.run for c in found.curves} == {"full-s0", "null-s0", "diverged-s0"} and found.epochs == 30
    curves = {c.arm: c for c in found.curves}
    assert curves["full"].values == line(1) and curves["full"].seconds == 2.5  # the test rows did not replace epoch 30
    assert math.isnan(curves["null"].values[10]) and curves["diverged"].diverged and curves["diverged"].length == 8
    reasons = dict(found.left_out)
    for name, words in (
        ("pruned-s0", "not ended at epoch 10 of 30"),
        ("tested-s0", "test split only"),
        ("empty-s0", "nothing was evaluated"),
        ("broken-s0", "no configuration"),
        ("unmeasured-s0", "not measured at epoch 30"),
        ("full-s1", "seed is not 0"),
    ):
        assert words in reasons[name]
    assert len(reasons) == 6 and any("33 rows of the test split were passed over" in note for note in found.notes)
    values = Pool(found).values
    assert np.isnan(values[[c.arm for c in found.curves].index("diverged"), 8:]).all()


def test_options_of_reading(tmp_path):
    study = Study(tmp_path)
    study.run("a", line(1))
    study.run("a", line(2), seed=1)
    study.run("b", line(3), teacher="stopgrad")
    both = read_curves([tmp_path], seeds=(0, 1))
    assert {c.run for c in both.curves} == {"a-s0", "a-s1"} and "every one of seeds 0, 1" in dict(both.left_out)["b-s0"]
    assert {c.bracket for c in read_curves([tmp_path], bracket_by="objective.teacher").curves} == {"ema", "stopgrad"}
    cut = read_curves([tmp_path], epochs=20)
    assert cut.epochs == 20 and max(cut.curves[0].values) == 20
    assert read_curves([tmp_path], metric="linacc_live/z_agg@M").curves[0].values[30] == 100 - line(1)[30]
    twice = read_curves([tmp_path, tmp_path / "runs" / "b-s0" / "records.jsonl"])
    assert len(twice.curves) == 2 and any("already read" in why for _, why in twice.left_out)
    with pytest.raises(UsageError, match="no such setting"):
        read_curves([tmp_path], bracket_by="objective.nothing")


def test_epochs_that_were_not_measured(tmp_path):
    study = Study(tmp_path)
    study.run("a", line(1))
    study.run("b", {e: v for e, v in line(2).items() if e != 10})
    found = read_curves([tmp_path])
    left = complete(found, [3, 10])
    assert [c.arm for c in left.curves] == ["a"] and "not measured at epoch 10" in left.why_left_out()[0]
    carried = complete(found, [3, 10], "last")
    assert carried.curves[1].values[10] == line(2)[9] and "last value before" in carried.notes[-1]
    assert math.isnan(complete(found, [10], "worst").curves[1].values[10])
    assert complete(found, [3]) == found
    with pytest.raises(UsageError, match=r"all have it at 30"):
        complete(Recorded([Curve("a", "a", 0, {30: 1.0}, 30, False)], 30, "m"), [10])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "cifar10"}, "data settings of a-s0 and b-s0 differ"),
        ({"horizon": 300}, "schedule horizon = 30 in a-s0, 300 in b-s0"),
        (
            {"probe_bn": "train"},
            "a-s0 was measured with eval.probe_bn = 'eval', not 'train' as b-s0: such curves do not",
        ),
    ],
)
def test_curves_of_different_tasks_are_refused(tmp_path, changes, words):
    study = Study(tmp_path)
    study.run("a", line(1))
    study.run("b", line(1), **changes)
    with pytest.raises(UsageError, match=words):
        read_curves([tmp_path])


def test_records_without_a_full_run_say_what_there_is(tmp_path):
    Study(tmp_path).run("a", dict.fromkeys(range(11), 5.0), stop=None)
    with pytest.raises(UsageError, match=r"no full-length run.*not ended.*linacc/z_agg@3"):
        read_curves([tmp_path])
    (tmp_path / "records.jsonl").write_text("[1]\n")
    with pytest.raises(UsageError, match="records.jsonl, line 1: must be one JSON object, not list; restore the file"):
        read_curves([tmp_path / "records.jsonl"])


def test_packed_records_are_read_like_plain_ones_and_a_torn_file_is_refused(tmp_path):
    study = Study(tmp_path / "plain")
    text = b"".join(study.run(f"a{n}", line(n), teacher=("ema", "shared")[n % 2]).read_bytes() for n in range(3))
    packed = tmp_path / "packed" / "three.jsonl.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(text))
    plain = read_curves([tmp_path / "plain"], bracket_by="objective.teacher")
    assert read_curves([packed], bracket_by="objective.teacher") == plain and len(plain.curves) == 3
    assert read_curves([packed.parent], bracket_by="objective.teacher") == plain
    for damaged in (packed.read_bytes()[:-20], b"{}\n", gzip.compress(text + b"{"), b"\x1f\x8b" + bytes(40)):
        packed.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"three.jsonl.gz: cannot be read .*restore it"):
            read_curves([packed])


# --- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """14 arms, two seeds of each and two teachers; ranks settle late; one was not measured at epoch 3."""
    study, source = Study(tmp_path_factory.mktemp("study")), random.Random(0)
    for arm in range(14):
        for seed in (0, 1):
            noise = [source.gauss(0, 60 / (e + 3)) for e in range(EPOCHS + 1)]
            curve = {e: 30 + arm + n for e, n in enumerate(noise) if (arm, e) != (4, 3)}
            study.run(f"arm{arm}", curve, seed=seed, teacher=("ema", "stopgrad")[arm % 2])
    return study.folder


def call(folder, *words):
    usual = {"--orders": "30", "--resamples": "40"}  # an option may be given only once
    given = [word for name, value in usual.items() if name not in words for word in (name, value)]
    return studies_main.main(["replay", str(folder), *given, *words])


def numbers(folder, out, *words):
    assert call(folder, "--out", str(out), *words) == 0
    return [list(csv.DictReader((out / name).open())) for name in ("replay_strategies.csv", "replay_rungs.csv")]


def test_the_command_prints_and_repeats_itself(folder, tmp_path, capsys):
    assert call(folder, "--scheduler", "asha,top-k", "--eta", "2,3", "--grace", "3") == 0
    first = capsys.readouterr().out
    for words in (
        "all full length",
        "one-epoch top-3",
        "ASHA eta 2, rungs 3, 6, 12",
        "ASHA eta 3, rungs 3, 9",
        "1 run left out: ",
        "14 runs left out: seed is not",
        "is a gate here valid?",
        "13 arms",
        "30 orders; intervals are meant for 500",
        "regret",
        "with controls",
    ):
        assert words in first, words
    assert call(folder, "--scheduler", "asha,top-k", "--eta", "2,3", "--grace", "3") == 0
    assert capsys.readouterr().out == first and "gate at" not in first
    strategy_rows, rung_rows = numbers(folder, tmp_path, "--grace", "3")
    assert [row["kind"] for row in strategy_rows] == ["full", "top-k", "gate", "asha"] and float(
        strategy_rows[0]["search_epochs"]
    ) == 13 * 30
    assert [row["epoch"] for row in rung_rows] == ["1", "3", "9"]


BASE = ["--grace", "3", "--failures-per-hour", "20", "--checkpoint-every", "3"]
CHANGES = [
    "--scheduler asha",
    "--eta 4",
    "--grace 5",
    "--gate 7",
    "--top-k 1",
    "--metric linacc_live/z_agg@M",
    "--epochs 25",
    "--missing last",
    "--run-seeds 0,1",
    "--bracket-by objective.teacher",
    "--orders 31",
    "--trials 6",
    "--trials 60",
    "--trials 60 --noise 0",
    "--seed 1",
    "--workers 5",
    "--startup-seconds 9",
    "--seconds-per-epoch 9",
    "--failures-per-hour 40",
    "--preemptions-per-hour 40",
    "--retries 0",
    "--checkpoint-every 5",
    "--confirm-arms 3",
    "--twins 0",
    "--controls 4",
    "--confirm-seeds 5",
    "--resamples 41",
]


def test_a_default_study_is_replayed_by_what_it_measured_and_told_what_it_did_not(tmp_path, capsys):
    """It probes at its rungs and at the end, not after one epoch; the README's command names no strategies."""
    study = Study(tmp_path / "study")
    for arm in range(8):
        study.run(f"arm{arm}", {epoch: 30 + arm + epoch / 10 for epoch in (0, 4, 12, EPOCHS)})
    assert call(study.folder) == 0
    shown = capsys.readouterr().out
    assert "not compared: one-epoch top-3" in shown and "a study run with --probe-epochs 1 has it" in shown
    assert "ASHA eta 3, rungs 4, 12" in shown and "all full length" in shown
    assert call(study.folder, "--scheduler", "top-k") == 2  # asked for by name
    assert "--probe-epochs 1" in capsys.readouterr().err
    assert call(study.folder, "--scheduler", "asha,gates", "--grace", "5", "--eta", "2") == 2
    assert "decides (5, 10); all have it at 0, 4, 12, " in (error := capsys.readouterr().err)
    assert error.endswith("a study run with --probe-epochs 5,10 has it there\n")


def test_every_option_changes_the_numbers(folder, tmp_path):
    seen = {"none": numbers(folder, tmp_path / "base", *BASE)}
    for change in CHANGES:
        option = change.split()[0]
        kept = [word for at in range(0, len(BASE), 2) if BASE[at] != option for word in BASE[at : at + 2]]
        seen[change] = numbers(folder, tmp_path / "changed", *kept, *change.split())
    distinct = {json.dumps(value) for value in seen.values()}
    assert len(distinct) == len(seen)
    assert len({option.split()[0] for option in CHANGES}) == 25  # all but --out and RECORDS


def test_resampled_curves_are_labelled(folder, tmp_path, capsys):
    assert {row["curves"] for row in numbers(folder, tmp_path, "--trials", "40", "--orders", "3")[0]} == {"resampled"}
    shown = capsys.readouterr().out
    assert (
        "RESAMPLED  the 40 trials are copies of these 14 arms' curves with noise" in shown
        and "strategies: RESAMPLED" in shown
    )
    assert {row["curves"] for row in numbers(folder, tmp_path)[0]} == {
        "recorded"
    } and "RESAMPLED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--scheduler ahsa", ["'ahsa'", "top-k"]),
        ("--eta 1", ["--eta 1", "at least 2"]),
        ("--eta x", ["--eta 'x'", "whole number"]),
        ("--grace 16", ["--grace 16", "first half of 30"]),
        ("--gate 30", ["--gate 30", "below 30"]),
        ("--grace 99", ["--grace 99", "below 30"]),
        ("--workers 0", ["--workers 0", "at least 1"]),
        ("--twins -1", ["--twins -1", "at least 0"]),
        ("--confirm-arms 1", ["--twins 2", "--confirm-arms 1", "lower --twins"]),
        ("--startup-seconds nan", ["--startup-seconds nan"]),
        ("--seconds-per-epoch 0", ["--seconds-per-epoch 0"]),
        ("--noise 1", ["--noise 1", "--trials"]),
        ("--metric linacc/z", ["linacc/z", "linacc/z_agg@3"]),
        ("--epochs 99", ["not full length", "of 99"]),
        ("--etta 3", ["--etta", "did you mean --eta"]),
        ("--preemptions-per-hour 9e9", ["no checkpoint is reached"]),
    ],
)
def test_wrong_commands(folder, capsys, words, expected):
    assert call(folder, *words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in expected), error


def test_wrong_commands_of_the_entry_point(tmp_path, capsys):
    assert studies_main.main(["replya"]) == 2 and "did you mean replay?" in capsys.readouterr().err
    assert studies_main.main(["replay", str(tmp_path / "nowhere")]) == 2 and "does not exist" in capsys.readouterr().err
    assert studies_main.main(["replay", str(tmp_path)]) == 2 and "holds no records.jsonl" in capsys.readouterr().err
    assert studies_main.main([]) == 2 and studies_main.main(["--help"]) == 0 and "replay" in capsys.readouterr().out


def test_the_report_says_in_words_who_wins():
    compared = strategies(EPOCHS, ("top-k", "asha-stop"), (3,), (10,), (), (1,))
    kept = replay(Pool(recorded(range(12))), compared, Machine(1), orders=30, seed=0)
    assert "One-epoch top-1 BEATS stop-only ASHA eta 3, rungs 10: fewer epochs and no more regret" in " ".join(
        report.sentences(kept)
    )
    turned = [Curve(f"r{n}", f"r{n}", 0, {1: -n, 10: n, 30: n}, EPOCHS, False) for n in range(12)]
    traded = replay(Pool(Recorded(turned, EPOCHS, "m")), compared, Machine(1), orders=30, seed=0)
    assert (
        "one-epoch top-1 trains fewer epochs than stop-only ASHA eta 3, rungs 10 and gives up more: a trade"
        in " ".join(report.sentences(traded))
    )
    many = replay(
        Pool(recorded(range(12))),
        strategies(EPOCHS, ("top-k", "asha-stop"), (3,), (10,), (), (12,)),
        Machine(1),
        orders=30,
        seed=0,
    )
    assert "stop-only ASHA eta 3, rungs 10 beats one-epoch top-12: fewer epochs and no more regret" in " ".join(
        report.sentences(many)
    )


def test_neither_torch_nor_ray_is_imported():
    code = (
        "import sys, pkgutil, studies.replay as r, importlib, studies.__main__\n"
        "[importlib.import_module(f'studies.replay.{m.name}') for m in pkgutil.iter_modules(r.__path__)]\n"
        "assert not {'torch', 'ray', 'optuna', 'pandas'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- the curves on record

RECORDED = ROOT / "studies" / "replay" / "recorded"
SETS = ("rotation", "affine", "colour")
GRACE, ETA = 4, 3
"""Chosen on rotation alone: the least regret of those with 2x fewer epochs at 24 trials and 3x at 48."""


def stored(name, bracket_by="objective.teacher"):
    return read_curves([RECORDED / f"{name}.jsonl.gz"], bracket_by=bracket_by)


@pytest.mark.parametrize("name", SETS)
def test_the_stored_curves_are_full_length_and_say_where_they_come_from(name):
    path, found = RECORDED / f"{name}.jsonl.gz", stored(name)
    assert len(found.curves) == 54 and found.epochs == 30 and not found.left_out and path.stat().st_size < 100 * 1024
    assert {curve.bracket for curve in found.curves} == {"stopgrad", "ema"} and len({c.seed for c in found.curves}) == 1
    assert all({0, *PROBED} == set(curve.values) and curve.seconds > 0 for curve in found.curves if not curve.diverged)
    first = [line for line in map(json.loads, gzip.open(path, "rt")) if "config" in line]
    assert {(len(line["provenance"]["commit"]), line["provenance"]["dirty"]) for line in first} == {(40, False)}
    assert len({line["provenance"]["commit"] for line in first}) == 1 and all(
        "torch" in line["provenance"]["versions"] for line in first
    )
    # the configuration on record is the arm's, and the recorder's own draws give these arms
    assert all(arm_id(presets.build(line["config"])) == line["arm_id"] for line in first)
    planned = [run_id(config(name, point)) for point in draws(len(first))]
    assert sorted(planned) == sorted(line["run_id"] for line in first)


@functools.cache
def searched(name, trials, top=3):
    """All full length, one-epoch top-K and ASHA as recommended, over 200 orders of random subsets, teachers apart."""
    compared = strategies(EPOCHS, ("top-k", "asha-stop"), (ETA,), (GRACE,), (), (top,))
    pool = Pool(complete(stored(name), [1, *compared[2].epochs]))
    return replay(pool, compared, Machine(2, startup=3.0), orders=200, seed=0, trials=trials)


@pytest.mark.parametrize("name", SETS)
def test_halving_costs_less_than_half_of_all_full_length(name):
    full, _, halved = searched(name, 24)
    assert halved.strategy.epochs == (4, 12)
    assert full.epochs.mean() / halved.epochs.mean() >= 2


@pytest.mark.parametrize("name", ["rotation", "affine"])
def test_halving_gives_up_less_than_one_epoch_top_k(name):
    for top in (3, 4):  # of each teacher; four cost as many epochs as the halving
        _, simple, halved = searched(name, 24, top)
        assert Interval.of(halved.regret - simple.regret).high < -4


def test_on_colour_one_epoch_top_k_is_as_good():
    """Not resolved: with 30 of these arms top-3 gave up less, with all 54 a little more, and top-4 a little less."""
    for top in (3, 4):
        _, simple, halved = searched("colour", 24, top)
        assert abs(Interval.of(halved.regret - simple.regret).mean) < 1  # one arm's score has a standard error of 2.7


@pytest.mark.parametrize(("name", "most"), [("rotation", 1), ("affine", 1.5), ("colour", 5)])
def test_of_48_trials_halving_costs_a_third(name, most):
    full, simple, halved = searched(name, 48)
    assert full.epochs.mean() / halved.epochs.mean() >= 3
    assert Interval.of(halved.regret).high < most and Interval.of(halved.regret - simple.regret).high < 0


@pytest.mark.parametrize(("name", "grace"), [("rotation", 3), ("affine", 5), ("colour", 5)])
def test_scores_dip_below_their_untrained_start(name, grace):
    pool = Pool(stored(name))
    first, early, later = (rung(pool, epoch, 0, 10) for epoch in (1, 2, grace))
    assert first.below_start == first.best_below_start == 1 and first.rho < 0  # the best look worst
    assert early.best_below_start > 0.5 and later.best_below_start < 0.25


@pytest.mark.parametrize("name", SETS)
def test_the_collapse_stop_would_spare_every_recorded_run(name):
    ranks = [
        (line["epoch"], line["metrics"]["rank_pr/z_agg@3"])
        for line in map(json.loads, gzip.open(RECORDED / f"{name}.jsonl.gz", "rt"))
        if line["event"] == "eval" and "rank_pr/z_agg@3" in line["metrics"]
    ]
    # judged from a sixth of the run on; before it a healthy run may be lower
    assert min(rank for epoch, rank in ranks if epoch >= 5) > 1.6 > Stopping.collapse_rank


def test_the_recorder_keeps_what_the_replay_reads(tmp_path):
    study = Study(tmp_path)
    names = [study.run(f"a{n}", line(n), test_rows=2).parent.name for n in range(2)]
    names.append(study.run("open", line(3), stop=None).parent.name)
    assert pack(tmp_path / "runs", names, tmp_path / "small.jsonl.gz") == 2  # the third has not ended
    small, whole = read_curves([tmp_path / "small.jsonl.gz"]), read_curves([tmp_path / "runs"])
    assert [c.values for c in small.curves] == [pytest.approx(c.values) for c in whole.curves[:2]]
    assert [c.seconds for c in small.curves] == [2.5, 2.5] and b"live" not in gzip.decompress(
        (tmp_path / "small.jsonl.gz").read_bytes()
    )


# --- scale


def test_ten_thousand_trials_on_a_thousand_workers():
    pool = Pool(recorded(range(27)))
    t = pool.resample(np.random.default_rng(0), 10_000, 1.0)
    start = time.process_time()
    outcome = run(t, asha(t, (3, 9)), workers=1000, startup=12.0, failures=0.5, preemptions=5.0)
    assert outcome.decisions / (time.process_time() - start) >= 1000
    assert outcome.decisions > 12_000 and outcome.preemptions > 100 and outcome.failures > 10


def test_memory_grows_no_faster_than_the_trials_and_the_records(tmp_path):
    def peak(work):
        tracemalloc.start()
        work()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    def search(number):
        t = Pool(recorded(range(27))).resample(np.random.default_rng(0), number, 1.0)
        run(t, asha(t, (3, 9)), workers=100, preemptions=5.0)

    def read(number):
        read_curves([tmp_path / str(number)])

    for number in (20, 80):
        for arm in range(number):
            Study(tmp_path / str(number)).run(f"a{arm}", line(arm))
    assert peak(lambda: search(2000)) < 1.5 * 4 * peak(lambda: search(500))
    assert peak(lambda: read(80)) < 1.5 * 4 * peak(lambda: read(20))
