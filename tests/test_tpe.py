"""What the search's model is set to do, by what it then suggests: joint draws, branches, running trials, strata."""

import math
import random
from statistics import fmean

import optuna
import pytest
from engine import make, plan, play, seen_of

from search_spaces import step2_rate as space
from studies.engine import samplers
from studies.engine.job import Seen
from studies.engine.sampling import Sampling
from studies.step2_rate import STUDY

SEEDS = range(16)


def share(value, low, high, log=True):
    """Where a value lies in its range, 0 to 1."""
    value, low, high = (math.log(x) if log else x for x in (value, low, high))
    return (value - low) / (high - low)


def place(raw):
    """Strength and warm-up of a point, each as a share of its range."""
    return share(raw["lambda_rate"] or space.ZERO_FROM, space.ZERO_FROM, space.LAMBDA[1]), share(
        raw["warmup_epochs"], *space.WARMUP_EPOCHS, log=False
    )


def told(seed, count, score):
    """A search that knows ``count`` finished random trials, teachers in turn."""
    sampling, numbers = Sampling(STUDY, seed), random.Random(seed)
    for number in range(count):
        raw = {
            "teacher": space.TEACHERS[number % 2],
            "schedule": numbers.choice(space.SCHEDULES),
            "warmup_epochs": numbers.uniform(*space.WARMUP_EPOCHS),
        }
        raw["lambda_rate"] = math.exp(numbers.uniform(math.log(space.ZERO_FROM), math.log(space.LAMBDA[1])))
        if raw["teacher"] == "ema":
            raw["ema_half_life"] = math.exp(numbers.uniform(*map(math.log, space.HALF_LIFE)))
        sampling.absorb(raw, "complete", 30, {"linacc": score(raw)})
    return sampling


def test_settings_that_must_fit_each_other_are_drawn_together():
    """Good is any strength, if the warm-up goes with it: no setting is good by itself, so separate draws find
    nothing."""
    gaps = []
    for seed in SEEDS:
        sampling = told(seed, 100, lambda raw: -abs(place(raw)[0] - place(raw)[1]))
        for number in (10, 11):  # beyond the first points
            _, source, point = sampling.suggest(number)
            assert source == "model"
            gaps.append(abs(place(point)[0] - place(point)[1]))
    assert fmean(gaps) < 0.12  # separate draws are 0.2 apart, uniform ones 0.33


def test_settings_of_one_branch_are_drawn_together_too():
    """A space whose second branch has two settings of its own that must fit each other."""

    def point(trial):
        trial.suggest_float("everywhere", 0, 1)
        if trial.suggest_categorical("branch", ("plain", "pair")) == "pair":
            return trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)

    gaps = []
    for seed in SEEDS:
        study, numbers = optuna.create_study(direction="maximize"), random.Random(seed)
        for number in range(80):
            pair = {"branch": "pair", "a": numbers.random(), "b": numbers.random()}
            study.enqueue_trial(pair if number % 2 else {"branch": "plain"})
            trial = study.ask()
            point(trial)
            study.tell(trial, -abs(pair["a"] - pair["b"]) if number % 2 else -0.5)
        study.sampler = samplers.make("tpe", seed, seed, 81, ("everywhere", "branch", "a", "b"), {"branch": "pair"})
        study.enqueue_trial({"branch": "pair"})
        a, b = point(study.ask())
        gaps.append(abs(a - b))
    assert fmean(gaps) < 0.16  # separate draws are 0.27 apart


def test_a_suggestion_keeps_away_from_what_is_running():
    """Ten trials run where the next one would have been placed: it goes elsewhere. Had they been lost, it would not."""
    moved = {"busy": [], "lost": []}
    for seed in SEEDS:
        points = {}
        for others in ("none", "busy", "lost"):
            sampling = told(seed, 20, lambda raw: 60 - 5 * abs(math.log10(raw["lambda_rate"] / 0.03)))
            for number in range(10, 20) if others != "none" else ():
                sampling.suggest(number, fixed=points["none"])
                if others == "lost":
                    sampling.tell(number, "failed", 0, {})
            points[others] = sampling.suggest(20)[2]
        for others in moved:
            here, there = place(points["none"]), place(points[others])
            moved[others].append(max(abs(a - b) for a, b in zip(here, there, strict=True)))
    assert moved["lost"] == [0.0] * len(SEEDS)
    assert fmean(moved["busy"]) > 0.1 and sum(gap > 0.05 for gap in moved["busy"]) > len(SEEDS) / 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
@pytest.mark.parametrize("hopeless", space.TEACHERS)
def test_a_teacher_that_is_far_behind_gets_as_many_trials_and_a_best_of_its_own(tmp_path, sampler, hopeless):
    def seen(job, epoch):
        now = seen_of(job, epoch)
        score = now.score - 40 * (job.overrides["objective.teacher"] == hopeless)
        return Seen(epoch, score, epoch, rank=9.0, objectives={"linacc": score})

    jobs = make(plan(tmp_path, num_trials=40, sampler=sampler, grace=5))
    play(jobs, seen=seen, concurrent=3)
    assert [line["params"]["teacher"] for line in jobs.decisions.of("suggest")] == list(space.TEACHERS) * 20
    ends = {line["trial"]: line["state"] for line in jobs.decisions.of("finish") if line["trial"] is not None}
    for turn, teacher in enumerate(space.TEACHERS):
        # judged among its own kind: about one in eta goes on at each of the two rungs, whatever the other teacher
        # scores
        complete = [trial for trial, state in ends.items() if trial % 2 == turn and state == "complete"]
        assert 1 <= len(complete) <= 10
        ranked = jobs.search.ranking(teacher)
        assert ranked and all(candidate.trial % 2 == turn for candidate in ranked) and ranked[0].state == "complete"
        chosen = [arm for arm in jobs.comparison.arms if arm.key == f"best/{teacher}"]
        assert [arm.overrides["objective.teacher"] for arm in chosen] == [teacher]
