"""A study played to its end when the winner is none of the first points: what is chosen, and what then really runs."""

from functools import partial

import pytest
from engine import make, plan, play, score_of

from search_spaces import step2_rate as space
from studies.engine.job import Seen


def scored(value):
    """``seen`` of a play: epoch, score and a healthy rank."""

    def seen(job, epoch):
        score = value(job, epoch)
        return Seen(epoch, score, epoch, rank=9.0, objectives={"linacc": score, "r2_action": 0.5})

    return seen


def far_from_the_first_points(job, epoch):
    """Constant schedules with long warm-ups and slow teachers win, which none of the first points has."""
    settings = job.overrides
    if "schedule.name" not in settings:  # a control
        return 20.0
    score = 40 + epoch / 2 + 3 * settings["schedule.warmup_epochs"] + 10 * (settings["schedule.name"] == "constant")
    return score + 20 * (settings["objective.ema"] or {}).get("half_life", 0)


def played(folder, value, **changes):
    """The jobs after the study, and what each job was run with."""
    ran = {}

    def seen(job, epoch):
        ran[job.name] = job
        return scored(value)(job, epoch)

    jobs = make(plan(folder, **changes))
    play(jobs, seen=seen)
    jobs.comparison.write()
    return jobs, ran


@pytest.mark.parametrize("search_seed", [1000, 1001, 1002])
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_what_is_compared_has_every_setting_that_was_searched(tmp_path, sampler, search_seed):
    """The best arm runs as the winning trial did, and its control as the best arm does but for lambda, on every
    seed."""
    jobs, ran = played(
        tmp_path, far_from_the_first_points, num_trials=26, sampler=sampler, search_seed=search_seed, seeds=(0, 1, 2)
    )
    suggested = {line["trial"]: line["params"] for line in jobs.decisions.of("suggest")}
    ends = {line["trial"]: line for line in jobs.decisions.of("finish") if line["trial"] is not None}
    compared = {(line["role"], line["teacher"]): line for line in jobs.decisions.of("compare")}
    for teacher in space.TEACHERS:
        mine = [
            t
            for t, end in ends.items()
            if suggested[t]["teacher"] == teacher and end["state"] == "complete" and suggested[t]["lambda_rate"]
        ]
        winner = max(mine, key=lambda trial: ends[trial]["value"])
        point = suggested[winner]
        assert point not in space.first_points() and point["warmup_epochs"] != 2.0
        for role, weight in (("best", point["lambda_rate"]), ("lambda0", 0.0)):
            line = compared[role, teacher]
            assert line["seeds"] == [0, 1, 2] and line["lambda_rate"] == weight
            for seed, run in zip(line["seeds"], line["runs"], strict=True):
                config = jobs.plan.config(
                    ran[run].overrides, ran[run].seed
                )  # what this run trained with, not what is said of it
                assert (config.seed, config.objective.weights.rate, config.objective.teacher) == (seed, weight, teacher)
                assert (config.schedule.name, config.schedule.warmup_epochs) == (
                    point["schedule"],
                    point["warmup_epochs"],
                )
                assert (config.objective.ema and config.objective.ema.half_life) == point.get("ema_half_life")
                # and nothing else differs from the trial that won
                trial = jobs.plan.config(ran[f"t{winner:03d}"].overrides, seed).model_dump()
                trial["objective"]["weights"]["rate"] = weight
                assert config.model_dump() == trial
        assert compared["best", teacher]["search_value"] == ends[winner]["value"]


def test_scores_that_fall_do_not_let_a_stopped_trial_win(tmp_path):
    """Every curve declines, so whoever was stopped early shows a higher score than those that went the whole way."""
    jobs, _ = played(tmp_path, lambda job, epoch: 40 - epoch + score_of(job, 0), num_trials=16, grace=3)
    for teacher in space.TEACHERS:
        ranked = jobs.search.ranking(teacher)
        assert ranked[0].state == "complete" and ranked[0].value < min(c.value for c in ranked if c.state == "pruned")
        epochs = [candidate.epoch for candidate in ranked]
        assert epochs == sorted(epochs, reverse=True) and len(set(epochs)) >= 3
        choice = jobs.decisions.last("select", teacher=teacher)
        assert (
            choice["epochs"] == [30]
            and choice["trials"] == [ranked[0].trial]
            and choice["reason"] == "best score at the last epoch"
        )


def test_when_nobody_arrives_the_one_that_went_furthest_is_taken(tmp_path):
    """Whoever passes the second rung diverges afterwards; trials stopped at epoch 9 score less than those stopped at
    3."""
    jobs = make(plan(tmp_path, num_trials=20, grace=3))
    falling = scored(
        lambda job, epoch: 90 - epoch + job.overrides["objective.weights.rate"] if job.trial is not None else 50.0
    )

    def seen(job, epoch):
        return Seen(epoch, None, 9, diverged=True) if job.trial is not None and epoch == 12 else falling(job, epoch)

    play(jobs, seen=seen)
    found = set()
    for teacher in space.TEACHERS:
        ranked = jobs.search.ranking(teacher)
        found |= {candidate.epoch for candidate in ranked}
        assert not any(candidate.state == "complete" for candidate in ranked)
        furthest = max(candidate.epoch for candidate in ranked)
        best = max(candidate.value for candidate in ranked if candidate.epoch == furthest)
        assert (ranked[0].epoch, ranked[0].value) == (furthest, best)
        assert "furthest" in jobs.decisions.last("select", teacher=teacher)["reason"]
    assert found == {3, 9}


@pytest.mark.parametrize("epochs, grace, first", [(30, 3, 5), (30, 10, 10), (60, 3, 10), (12, 1, 2), (6, 1, 1)])
def test_a_low_rank_is_a_collapse_from_the_first_rung_and_a_sixth_of_the_run_on(tmp_path, epochs, grace, first):
    """Healthy runs pass through low ranks at the start: not a rung's epoch alone, but the share of the run decides."""
    jobs = make(
        plan(
            tmp_path,
            epochs=epochs,
            grace=grace,
            collapse_rank=1.5,
            num_trials=1,
            gate=None,
            overrides=[f"schedule.horizon_epochs={epochs}"],
        )
    )
    job = jobs.next()
    stopped = [
        epoch
        for epoch in range(1, epochs)
        if jobs.report(job.name, Seen(epoch, 50.0, epoch, rank=1.2, objectives={"linacc": 50.0}))
    ]
    assert stopped[0] == first and jobs.decisions.of("stop")[0]["state"] == "collapsed"


def test_a_run_whose_rank_recovers_in_time_is_not_stopped(tmp_path):
    def seen(job, epoch, healthy_from):
        return Seen(
            epoch, 40.0 + epoch, epoch, rank=1.2 if epoch < healthy_from else 4.0, objectives={"linacc": 40.0 + epoch}
        )

    for name, healthy_from, state in (("early", 5, "complete"), ("late", 6, "collapsed")):
        (tmp_path / name).mkdir()
        jobs = make(plan(tmp_path / name, num_trials=1, grace=1, collapse_rank=1.5, arms=(), confirm=()))
        play(jobs, seen=partial(seen, healthy_from=healthy_from))
        assert jobs.states["t000"] == state
