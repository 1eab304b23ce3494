"""The winner by smoothed scores: fitted over any settings, better than the luckiest score, and on record with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from engine import make, plan, play
from test_winners import scored

from analysis.recorded.study import load
from analysis.sentences.how_chosen import how_chosen
from studies import step2_rate
from studies.engine import spaces
from studies.engine.folder import agree
from studies.engine.smoothing import encoded, smoothed
from trainer.errors import UsageError

LEVELS = step2_rate.STUDY.levels


def space(trial):
    keys = {"optim.lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True)}
    keys["schedule.name"] = trial.suggest_categorical("schedule", ("cosine", "constant"))
    if keys["schedule.name"] == "cosine":
        keys["schedule.warmup_epochs"] = trial.suggest_int("warmup", 0, 10)
    return keys


VARIANTS = spaces.variants(space)


def test_settings_become_numbers_in_their_range():
    raws = [
        {"lr": 1e-4, "schedule": "cosine", "warmup": 10},
        {"lr": 1e-1, "schedule": "constant"},
        {"lr": 10**-2.5, "schedule": "cosine", "warmup": 0},
    ]
    # lr on its logarithm; the two schedules; whether there is a warm-up, and how long, the middle where there is none
    assert encoded(VARIANTS, raws) == pytest.approx(np.array([
        [0, 1, 0, 1, 1], [1, 0, 1, 0, 0.5], [0.5, 1, 0, 1, 0],
    ]))  # fmt: skip
    assert encoded(VARIANTS, raws[:1] * 3).shape == (3, 0)


def drawn(random, n: int) -> list[dict]:
    raws = []
    for _ in range(n):
        raw = {"lr": float(10 ** random.uniform(-4, -1)), "schedule": str(random.choice(["cosine", "constant"]))}
        raws.append(raw | ({"warmup": int(random.integers(11))} if raw["schedule"] == "cosine" else {}))
    return raws


def truth(raw: dict) -> float:
    """A smooth hill in lr, a little higher with one schedule and in its warm-up."""
    return 60 - 4 * (math.log10(raw["lr"]) + 2.5) ** 2 + 2 * (raw["schedule"] == "cosine") - 0.2 * raw.get("warmup", 0)


def test_smoothed_choices_lose_less_than_the_luckiest_scores():
    """Noise as large as what the settings do, 16 trials, 200 searches; regret is in true points."""
    lost = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        raws = drawn(random, 16)
        true = np.array([truth(raw) for raw in raws])
        scores = true + random.normal(0, 2.5, len(raws))
        lost.append([true.max() - true[np.argmax(one)] for one in (scores, smoothed(VARIANTS, raws, scores.tolist()))])
    raw, smooth = np.mean(lost, axis=0)
    gain = np.subtract(*np.transpose(lost))
    assert smooth < 0.8 * raw and gain.mean() > 2 * gain.std() / math.sqrt(len(gain)), (raw, smooth)


def test_the_same_scores_give_the_same_surface_and_equal_ones_a_flat_one():
    random = np.random.default_rng(0)
    raws = drawn(random, 10)
    scores = [truth(raw) for raw in raws]
    assert smoothed(VARIANTS, raws, scores) == smoothed(VARIANTS, raws, scores)
    assert smoothed(VARIANTS, raws, [7.0] * 10) == [7.0] * 10
    assert np.ptp(smoothed(VARIANTS, raws, scores)) > 0.5 * np.ptp(scores)


def lucky(job, epoch: int) -> float:
    """A hill in the weight, and noise of each run's own."""
    weight = job.overrides["objective.weights.rate"]
    luck = np.random.default_rng(10 + sum(map(ord, job.label))).normal(0, 8)
    return 50 + epoch - 4 * abs(math.log10(max(weight, 1e-4) / 0.03)) + float(luck)


def played(folder, until=None, **changes):
    jobs = make(plan(folder, num_trials=24, rule="none", top_k=2, seeds=(0, 1, 2), **changes))
    agree(jobs.plan)
    play(jobs, seen=scored(lucky), until=until)
    if jobs.done:
        jobs.comparison.write()
    return jobs


def selected(jobs) -> dict[str, dict]:
    return {level: jobs.decisions.last("select", teacher=level) for level in LEVELS}


def test_the_option_changes_who_is_confirmed_and_both_scores_are_on_record(tmp_path):
    raw, smooth = selected(played(tmp_path / "raw")), selected(played(tmp_path / "smooth", choose="smoothed"))
    assert all(raw[level]["trials"][0] != smooth[level]["trials"][0] for level in LEVELS)
    for level in LEVELS:
        assert "choose" not in raw[level] and "fitted" not in raw[level]
        line = smooth[level]
        assert line["choose"] == "smoothed" and line["reason"] == "best smoothed score at epoch 30"
        assert [one[:2] for one in line["by_raw"]] == list(
            map(list, zip(raw[level]["trials"], raw[level]["values"], strict=True))
        )
        assert line["trials"] == [one[0] for one in line["by_smoothed"]]
        assert sorted(line["by_smoothed"], key=lambda one: -one[2]) == line["by_smoothed"]
        fitted = {trial: (value, surface) for trial, value, surface in line["fitted"]}
        assert len(fitted) == 24
        for trial, value, surface in [*line["by_smoothed"], *line["by_raw"]]:
            assert fitted[trial] == (value, surface) and value != surface


def test_the_report_says_which_scores_chose_and_where_they_differ(tmp_path):
    jobs = played(tmp_path / "smooth", choose="smoothed")
    said = " ".join(how_chosen(load(jobs.plan.folder)))
    for level, line in selected(jobs).items():
        assert f"the searched settings (24 trials), teacher {level}: t{line['trials'][0]:03d} (raw" in said
        if line["trials"][0] != line["by_raw"][0][0]:
            assert f"by raw scores it would have been t{line['by_raw'][0][0]:03d} (raw" in said
    assert "it would have been" in said
    assert how_chosen(load(played(tmp_path / "raw").plan.folder)) == []


@pytest.mark.parametrize("until", [200, 719, 800])
def test_a_resumed_study_chooses_the_same(tmp_path, until, monkeypatch):
    whole = selected(played(tmp_path / "whole", choose="smoothed"))
    cut = played(tmp_path / "cut", until, choose="smoothed")
    cut.decisions.close()
    if until == 800:  # the choice is on record, which no other library's fit changes
        monkeypatch.setattr("studies.engine.smoothing.smoothed", lambda *_: pytest.fail("fitted again"))
    again = selected(played(tmp_path / "cut", choose="smoothed"))
    for level in LEVELS:
        for name in ("trials", "values", "by_smoothed", "by_raw", "fitted"):
            assert again[level][name] == whole[level][name], name


def test_few_scores_are_taken_as_they_are_with_the_reason(tmp_path):
    jobs = make(plan(tmp_path, num_trials=5, rule="none", choose="smoothed"))
    agree(jobs.plan)
    play(jobs)
    jobs.comparison.write()
    for level in LEVELS:
        line = jobs.decisions.last("select", teacher=level)
        assert line["choose"] == "raw" and line["not_smoothed"] == (
            "only 5 points of the space came to epoch 30, and a fit takes 6"
        )
        assert line["trials"] == [jobs.search.ranking(level)[0].trial]
    assert "Chosen by raw scores, teacher ema: only 5 points" in " ".join(how_chosen(load(tmp_path)))


def test_only_trials_of_the_furthest_epoch_enter(tmp_path):
    jobs = make(plan(tmp_path, num_trials=48, grace=10, eta=2, choose="smoothed"))
    play(jobs, seen=scored(lucky))
    ends = {line["trial"]: line["state"] for line in jobs.decisions.of("finish") if line["trial"] is not None}
    complete = {trial for trial, state in ends.items() if state == "complete"}
    for level in LEVELS:
        line = jobs.decisions.last("select", teacher=level)
        assert {one[0] for one in line["fitted"]} <= complete < ends.keys()


def test_a_study_begun_before_the_option_continues_as_it_was(tmp_path):
    jobs = played(tmp_path, until=100)
    path = tmp_path / "study.json"
    stored = json.loads(path.read_text())
    del stored["search"]["choose"]
    path.write_text(json.dumps(stored))
    agree(jobs.plan)
    with pytest.raises(UsageError, match="search.choose = 'raw', not 'smoothed'"):
        agree(plan(tmp_path, num_trials=24, rule="none", top_k=2, seeds=(0, 1, 2), choose="smoothed"))


def test_the_command_says_and_checks_it(tmp_path, capsys):
    words = ["--dry-run", "--results-dir", str(tmp_path), "--choose", "smoothed"]
    assert step2_rate.main(words) == 0 and "settings by smoothed score" in capsys.readouterr().out
    assert step2_rate.main([*words, "--objectives", "linacc,r2_action"]) == 2
    assert "--choose smoothed: smooths one score" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", [[], [[None, 1.0, 2.0]], None])
def test_a_damaged_choice_is_one_line(tmp_path, damaged):
    path = played(tmp_path, choose="smoothed").decisions.path
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["event"] == "select":
            line["by_raw"] = damaged
            if damaged is None:
                del line["by_raw"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match="a select line by smoothed scores lacks the trials"):
        load(tmp_path)
