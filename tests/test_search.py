"""Halving, sampling and the order of jobs: the study's logic without Ray."""

import math

import optuna
import pytest
from engine import make, plan, play

from search_spaces import step2_rate as space
from studies import step2_grid
from studies.engine.decisions import Decisions
from studies.engine.jobs import Jobs
from studies.engine.sampling import Sampling
from studies.engine.stopping import Ladder
from studies.engine.stopping.asha import AshaStop
from studies.step2_rate import STUDY
from trainer import presets


def test_rungs():
    assert (
        AshaStop(30, 5, 3).rungs == (5, 15)
        and AshaStop(30, 3, 3).rungs == (3, 9)
        and AshaStop(81, 1, 3).rungs == (1, 3, 9, 27)
    )
    assert AshaStop(4, 5, 3).rungs == ()


def test_halving_keeps_about_one_in_eta_and_the_first():
    ladder = Ladder(AshaStop(10, 5, 3))
    outcomes = [
        ladder.decide("a", trial, 5, value).stop for trial, value in enumerate([50, 40, 60, 55, 30, 70, 65, 20, 80])
    ]
    #        first goes on; 40 < 50 stops; 60 best; 55 second of 4 stops; ...; with 6 values two may be better than none
    assert outcomes == [False, True, False, True, True, False, False, True, False]
    other = ladder.decide("b", 0, 5, 1.0)
    assert not other.stop and other.peers == 1


@pytest.mark.parametrize("value", [float("nan"), None, float("-inf")])
def test_a_value_that_is_not_finite_is_worst_even_alone(value):
    ladder = Ladder(AshaStop(10, 5, 3))
    assert ladder.decide("a", 0, 5, value).stop
    assert not ladder.decide("a", 1, 5, 1.0).stop
    assert ladder.decide("a", 2, 5, value).stop


def test_a_rung_is_decided_once_and_a_missed_one_at_the_next_report():
    ladder = Ladder(AshaStop(30, 5, 3))
    assert ladder.due("a", 0, 4) is None and ladder.due("a", 0, 6) == 5
    ladder.decide("a", 0, 5, 1.0)
    assert ladder.due("a", 0, 7) is None and ladder.due("a", 0, 15) == 15
    ladder.decide("a", 0, 15, 1.0)
    assert ladder.due("a", 0, 30) is None


def test_optuna_is_told_how_a_trial_really_ended():
    sampling = Sampling(STUDY, 0)
    for number, (state, epoch, score) in enumerate(
        [("complete", 30, 70.0), ("pruned", 5, 52.0), ("diverged", 2, None), ("failed", 0, None)]
    ):
        sampling.suggest(number)
        sampling.tell(number, state, epoch, {"linacc": score})
    done, stopped, diverged, failed = sampling.trials()
    state = optuna.trial.TrialState
    assert [t.state for t in (done, stopped, diverged, failed)] == [
        state.COMPLETE,
        state.PRUNED,
        state.PRUNED,
        state.FAIL,
    ]
    assert done.value == 70.0 and stopped.intermediate_values == {5: 52.0} and diverged.intermediate_values == {0: 0.0}


def test_the_space_is_conditional_and_zero_is_exactly_zero():
    sampling = Sampling(STUDY, 3, "random")
    points = []
    for number in range(60):
        points.append(STUDY.params(sampling.suggest(number)[0]))
        sampling.tell(number, "complete", 30, {"linacc": float(number % 7)})
    assert all(("ema_half_life" in p) == (p["teacher"] == "ema") for p in points)
    weights = [p["lambda_rate"] for p in points]
    assert 0.0 in weights and all(w == 0 or 1e-3 <= w <= 1 for w in weights)
    assert {p["schedule"] for p in points} == {"cosine", "constant"}
    ema = next(p for p in points if p["teacher"] == "ema")
    assert STUDY.point(ema | {"lambda_rate": 0.1})["objective.ema"] == {"half_life": ema["ema_half_life"]}
    assert "τ=" in STUDY.describe(ema, 510)


def test_the_grid_comes_first_then_the_model(tmp_path):
    jobs = make(plan(tmp_path, num_trials=14))
    play(jobs)
    suggested = jobs.decisions.of("suggest")
    assert [line["source"] for line in suggested[:10]] == ["grid"] * 10
    assert jobs.search.model_based == sum(line["source"] == "model" for line in suggested) >= 2
    assert [line["params"]["teacher"] for line in suggested] == ["stopgrad", "ema"] * 7


def test_a_study_runs_everything_once_and_compares_on_paired_seeds(tmp_path):
    jobs = make(plan(tmp_path))
    play(jobs)
    jobs.comparison.write()
    assert jobs.done and jobs.left == 0
    names = [line["name"] for line in jobs.decisions.of("finish")]
    assert len(names) == len(set(names)) == 6 + 2 * (1 + 2 * 2)
    compared = {(line["role"], line["teacher"]): line for line in jobs.decisions.of("compare")}
    assert compared.keys() == {
        ("shared", "shared"),
        ("untrained", "shared"),
        ("best", "stopgrad"),
        ("lambda0", "stopgrad"),
        ("best", "ema"),
        ("lambda0", "ema"),
    }
    for teacher in space.TEACHERS:
        best, zero = compared["best", teacher], compared["lambda0", teacher]
        assert best["lambda_rate"] == pytest.approx(0.03) and zero["lambda_rate"] == 0
        assert best["reference"] == zero["arm_id"] and best["seeds"] == zero["seeds"] == [0, 1]
        best_run, zero_run = (
            plan(tmp_path).config(
                next(a for a in jobs.comparison.arms if a.role == r and teacher in a.key).overrides, 0
            )
            for r in ("best", "lambda0")
        )
        differing = best_run.model_dump()
        differing["objective"]["weights"]["rate"] = 0.0
        assert differing == zero_run.model_dump()  # the twin differs in lambda alone
    assert all(line["search_value"] is not None for line in compared.values() if line["role"] == "best")


@pytest.mark.parametrize("killed_after", [1, 7, 40, 90, 150, 250, 400])
def test_a_new_driver_continues_from_the_record(tmp_path, killed_after):
    """Kill the driver after any number of epochs: nothing is lost, repeated, or decided twice."""
    first = make(plan(tmp_path))
    play(first, until=killed_after)
    ended_before = [line["name"] for line in first.decisions.of("finish")]
    second = make(plan(tmp_path))
    play(second)
    second.comparison.write()
    finished = [line["name"] for line in second.decisions.of("finish")]
    assert second.done and finished[: len(ended_before)] == ended_before
    assert len(finished) == len(set(finished)) == 16
    numbers = [line["trial"] for line in second.decisions.of("suggest")]
    assert numbers == list(range(6))
    rungs = [(line["trial"], line["rung"]) for line in second.decisions.of("rung")]
    assert len(rungs) == len(set(rungs))
    told = [trial.state.name for trial in second.search.sampling.trials()]
    assert all(state in ("COMPLETE", "PRUNED") for state in told) and len(told) == 6


def test_a_stop_whose_end_was_not_noted_is_not_trained_on(tmp_path):
    first = make(plan(tmp_path))
    play(first)
    # the driver died between writing ``stop`` and ``finish``
    lines = first.decisions.path.read_text().splitlines()
    last = next(number for number, line in enumerate(lines) if '"event":"stop"' in line)
    first.decisions.path.write_text("\n".join(lines[: last + 1]) + "\n")
    second = make(plan(tmp_path))
    stop = second.decisions.of("stop")[0]
    end = second.decisions.last("finish", name=stop["name"])
    assert end["state"] == "pruned" and end["epoch"] == stop["epoch"] and end["value"] == stop["value"]
    assert stop["name"] not in {job.name for job in second._again}


def test_an_interrupted_suggestion_comes_back_with_the_same_point(tmp_path):
    first = make(plan(tmp_path, num_trials=12))
    play(first, until=200)
    running = {name: job.overrides for name, job in first.running.items() if job.trial is not None}
    second = make(plan(tmp_path, num_trials=12))
    again = {}
    while len(again) < len(running):
        job = second.next()
        again[job.name] = job.overrides
    assert again == running


def test_failed_runs_are_not_run_never_bad_and_are_tried_again(tmp_path):
    p = plan(tmp_path, num_trials=0, confirm=(), seeds=(0,), retries=2)
    jobs = Jobs(p, Decisions(tmp_path))
    job = jobs.next()
    for _attempt in (1, 2):
        assert jobs.fail(job.name, "failed", 0, "killed") and jobs.next().name == job.name
    assert not jobs.fail(job.name, "failed", 0, "killed") and jobs.failed == 1
    assert Jobs(p, Decisions(tmp_path)).next().name == job.name


def test_the_grid_study_pairs_every_arm_with_lambda_zero_under_the_same_schedule_and_teacher():
    arms = step2_grid.STUDY.fixed_arms(False)
    by_key = {arm.key: arm for arm in arms}
    grid = [arm for arm in arms if arm.role == "grid"]
    assert len(grid) == 12 and sum(arm.role == "lambda0" for arm in arms) == 4
    for arm in grid:
        zero = by_key[arm.reference]
        assert {**arm.overrides, "objective.weights.rate": 0.0} == zero.overrides


def test_a_torn_decision_is_repaired(tmp_path):
    Decisions(tmp_path).append("tick")
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(b'{"event":"fin')
    again = Decisions(tmp_path)
    assert again.repaired == '{"event":"fin' and len(again.events) == 1


def test_what_the_preset_says_of_another_branch_goes_with_it():
    """An ema preset with a decay and a cosine floor still serves stop-gradient and constant arms, and keeps its own for
    the rest."""
    point = {"teacher": "stopgrad", "lambda_rate": 0.1, "schedule": "constant", "warmup_epochs": 1.0}
    other = {"teacher": "ema", "lambda_rate": 0.1, "schedule": "cosine", "warmup_epochs": 1.0, "ema_half_life": 0.02}
    base = presets.load("cifar100_aug_gate")
    assert base.objective.ema.decay == 0.996 and base.schedule.final_lr_ratio == 0.025
    stopped, averaged = (presets.load("cifar100_aug_gate", [], STUDY.point(p)) for p in (point, other))
    assert stopped.objective.ema is None and stopped.schedule.final_lr_ratio is None
    assert (
        averaged.objective.ema.half_life == 0.02
        and averaged.objective.ema.decay is None
        and averaged.schedule.final_lr_ratio == 0.025
    )
    for arm in step2_grid.STUDY.fixed_arms(False):
        presets.load("cifar10_rot", ["schedule.final_lr_ratio=0.1"], arm.overrides)


def test_decisions_on_the_ordered_rung_are_those_of_its_definition():
    import random

    numbers, ladder, values = random.Random(0), Ladder(AshaStop(6, 3, 3)), {}
    for _ in range(400):
        trial, value = (
            numbers.randint(0, 150),
            numbers.choice([None, math.nan, float(numbers.randint(0, 20)), numbers.random()]),
        )
        found = ladder.decide("", trial, 3, value)
        values[trial] = value if value is not None and math.isfinite(value) else -math.inf
        keep = max(1, len(values) // 3)
        assert found.stop == (
            sum(other > values[trial] for other in values.values()) >= keep or values[trial] == -math.inf
        )
        best = sorted(values.values(), reverse=True)
        assert found.peers == len(values) and found.cutoff == (
            best[keep - 1] if len(best) > keep and best[keep - 1] > -math.inf else None
        )
