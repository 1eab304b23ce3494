"""The race: the search's first few on fresh seeds, and the winner alone is compared."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from engine import make, plan, play, score_of, seen_of

from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine import warm_start
from studies.engine.decisions import Decisions, comparable
from studies.engine.folder import agree
from studies.engine.job import Seen
from studies.engine.plan_lines import plan_lines
from studies.step2_rate import STUDY
from trainer.errors import UsageError


def lucky(job, epoch):
    """Seeds of the search flatter strong rates; on fresh ones the optimum is where it is."""
    score = score_of(job, epoch)
    if job.seed == 1000:
        score += 12 * job.overrides["objective.weights.rate"]
    return Seen(epoch, score, epoch, rank=10.0, objectives={"linacc": score, "r2_action": 0.5})


def played(folder, **changes):
    jobs = make(plan(folder, num_trials=24, rule="none", **changes))
    play(jobs, seen=lucky)
    return jobs


def test_the_winner_of_the_race_is_compared_alone(tmp_path):
    jobs = played(tmp_path, top_k=3, race=1)
    for level in STUDY.levels:
        race, choice = (jobs.decisions.last(event, teacher=level) for event in ("race", "select"))
        first = [c.trial for c in jobs.search.ranking(level)[:3]]
        assert race["trials"] == first and race["seeds"] == [1001] and len(race["race_runs"]) == 3
        assert len(choice["trials"]) == 1 and choice["trials"][0] in first and "won the race of 3" in choice["reason"]
    roles = [arm.role for arm in jobs.comparison.arms]
    assert roles.count("best") == 2 and "candidate" not in roles and roles.count("lambda0") == 2


def test_a_race_corrects_a_lucky_choice(tmp_path):
    alone, raced = played(tmp_path / "a", top_k=1, race=0), played(tmp_path / "b", top_k=6, race=3)

    def weight(jobs):
        return [a.overrides["objective.weights.rate"] for a in jobs.comparison.arms if a.role == "best"]

    for lucky_one, chosen in zip(weight(alone), weight(raced), strict=True):
        assert abs(chosen - 0.03) < abs(lucky_one - 0.03)


def test_seeds_of_search_race_and_verdict_are_disjoint_and_the_plan_counts_them(tmp_path):
    jobs = played(tmp_path, top_k=3, race=2, seeds=(0, 1, 2, 3))
    p = jobs.plan
    assert not {p.search_seed, *p.races} & set(p.seeds) and p.races == (1001, 1002) and p.search_seed not in p.races
    runs = [line["name"] for line in jobs.decisions.of("finish") if line["trial"] is None]
    assert len(runs) == len(set(runs)) == p.race_runs + p.comparison_runs == 12 + 20


@pytest.mark.parametrize("killed_after", [1, 40, 120])
def test_a_race_is_continued_from_the_record(tmp_path, killed_after):
    whole = played(tmp_path / "whole", top_k=3, race=1)
    p = plan(tmp_path / "cut", num_trials=24, rule="none", top_k=3, race=1)
    play(make(p), until=24 * 30 + killed_after, seen=lucky)
    again = make(p)
    assert again.comparison.left > 0
    play(again, seen=lucky)
    again.comparison.write(), whole.comparison.write()

    def said(jobs):
        return [comparable(line) for event in ("race", "select", "compare") for line in jobs.decisions.of(event)]

    assert said(again) == said(whole)
    complete = make(p)
    assert complete.left == 0 and complete.comparison.selected


def test_one_that_fails_in_the_race_is_last(tmp_path):
    p = plan(tmp_path, num_trials=6, rule="none", top_k=2, race=1, retries=0)
    jobs = make(p)
    first = None
    while (job := jobs.next()) is not None:
        if job.seed == 1001 and first is None:
            first = job
            jobs.fail(job.name, "failed", 3, "it broke", final=True)
        else:
            jobs.end(job.name, lucky(job, 30))
    race = jobs.decisions.of("race")[0]
    lost = next(t for t, runs in zip(race["trials"], race["race_runs"], strict=True) if first.name in runs)
    chosen = jobs.decisions.last("select", teacher=race["teacher"])["trials"]
    assert chosen != [lost] and jobs.failed == 1


def planned(folder, *words):
    return make_plan(parser(STUDY).parse_args(["--results-dir", str(folder), *words]), STUDY)


def test_the_default_races_three_and_a_begun_study_keeps_what_it_began_with(tmp_path):
    p = planned(tmp_path)
    assert (p.search.top_k, p.search.race, p.seeds, p.chosen) == (3, 1, (0, 1, 2, 3), 4)
    old = planned(tmp_path, "--race", "0", "--seeds", "3", "--stopping", "asha-stop", "--study", "old")
    old.folder.mkdir()
    agree(old)
    Decisions(old.folder).append("select", trials=[])
    kept = planned(tmp_path, "--resume", "--study", "old")
    assert (kept.search.race, kept.seeds, kept.stopping.rule) == (0, (0, 1, 2), "asha-stop")
    agree(kept)
    with pytest.raises(UsageError, match=r"search\.race = 0, not 1"):
        agree(planned(tmp_path, "--resume", "--study", "old", "--race", "1"))


def test_a_study_begun_before_there_was_a_race_goes_on_without_one(tmp_path):
    import json

    old = planned(tmp_path, "--race", "0", "--study", "old", "--stopping", "asha-stop")
    old.folder.mkdir()
    agree(old)
    Decisions(old.folder).append("select", trials=[])
    path = old.folder / "study.json"
    content = json.loads(path.read_text())
    for name in ("race", "seed", "verdict"):
        del content["search"][name]
    path.write_text(json.dumps(content))
    kept = planned(tmp_path, "--resume", "--study", "old")
    agree(kept)
    assert kept.search.race == 0


def test_the_samplers_seed_is_apart_from_the_runs(tmp_path):
    points = {}
    for seed in (None, 5, 6):
        jobs = make(plan(tmp_path / str(seed), num_trials=6, sampler="random", seed=seed))
        points[seed] = [jobs.next().overrides for _ in range(6)]
        assert {job.seed for job in jobs.running.values()} == {1000}
    assert points[5] != points[6] != points[None]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_trials": 5, "top_k": 3, "race": 1},
        {"num_trials": 2, "top_k": 5, "race": 2},
        {"num_trials": 3, "top_k": 5, "race": 0},
        {"num_trials": 1, "top_k": 1, "noise_floor": 3},
        {"num_trials": 4, "top_k": 2, "race": 1, "twice": True},
        {"num_trials": 1, "top_k": 2, "race": 1, "warm": True},
    ],
)
def test_the_plan_promises_the_runs_that_there_will_be(tmp_path, settings):
    """Also where a level has fewer trials than are handed on, or none but an earlier study's, and where two fixed arms
    are one run."""
    more = {}
    if settings.pop("twice", False):
        first, *others = STUDY.fixed_arms(False)
        more = {"arms": (first, replace(first, key="again", label="the same once more"), *others)}
    if settings.pop("warm", False):
        play(make(plan(tmp_path / "old", rule="none", num_trials=8)))
        more = {"warm_start": (str(tmp_path / "old"),)}
    p = plan(tmp_path, rule="none", **settings, **more)
    if more.get("warm_start"):
        decisions = Decisions(p.folder)
        warm_start.absorb(p, decisions)
        decisions.close()
    kinds = {}

    def seen(job, epoch):
        kinds[job.name] = job.role if job.role in ("search", "race", "noise floor") else "comparison"
        return seen_of(job, epoch)

    trained = play(make(p), seen=seen)
    (said,) = (line for line in plan_lines(p) if line.startswith("runs"))
    promised = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z ]+)(?= \+|;)", said)}
    assert promised == Counter(kinds.values()) and trained == p.most_epochs == p.expected_epochs()


@pytest.mark.parametrize("words", [["--no-verdict"], ["--top-k", "1"], ["--quick"]])
def test_defaults_of_a_study_are_passed_over_where_they_have_no_effect(tmp_path, words):
    study = replace(STUDY, defaults={"race": 2, "seeds": 5, "until_resolved": 8})
    p = make_plan(parser(study, "--quick" in words).parse_args(["--results-dir", str(tmp_path), *words]), study)
    assert not p.races and p.until == (8 if p.search.verdict else None)


def test_a_search_without_a_verdict_compares_nothing(tmp_path):
    p = planned(tmp_path, "--no-verdict", "--num-trials", "4", "--race", "0")
    assert p.comparison_runs == p.race_runs == 0 and p.arms == () and p.declared.contrasts == ()
    p.folder.mkdir()
    jobs = make(p)
    play(jobs)
    assert jobs.left == 0 and len(jobs.decisions.of("select")) == 2 and jobs.comparison.arms == []
    for words, said in (
        (["--no-verdict", "--race", "1"], "--race has no effect"),
        (["--no-verdict", "--top-k", "2"], "--top-k has no effect"),
        (["--no-verdict", "--seeds", "8"], "--seeds has no effect"),
        (["--top-k", "1", "--race", "2"], "nobody runs against a single arm"),
        (["--race", "21"], "must be 0"),
    ):
        with pytest.raises(UsageError, match=said):
            planned(tmp_path, *words)


def test_a_race_that_runs_again_is_not_decided_by_the_choice_of_the_one_before():
    """A longer search may race an earlier winner against others."""
    from types import SimpleNamespace

    from analysis.sentences.race import races

    race = {"event": "race", "trials": [0, -1], "values": [60.0, 59.0], "seeds": [1001], "race_runs": [["a"], ["b"]]}
    again = {**race, "trials": [0, 7]}
    lines = [
        {"event": "warm", "trial": 3},
        {"event": "suggest", "trial": 0, "label": "first"},
        {"event": "suggest", "trial": 7, "label": "later"},
        race,
        {"event": "select", "trials": [0]},
    ]
    declared = SimpleNamespace(level=lambda line: "all", stratum=None)

    def said(*more):
        return races(SimpleNamespace(decisions=[*lines, *more], declared=declared, chosen={}))[0]

    assert "trial 1 of those taken over" in said() and said().endswith("compared is the winner, first.")
    assert said(again).endswith("not decided yet.")
    assert said(again, {"event": "select", "trials": [7]}).endswith("compared is the winner, later.")


def test_a_search_alone_says_what_it_found_and_is_complete(tmp_path):
    from analysis.recorded.study import load
    from analysis.sentences.answer import answers
    from analysis.sentences.searched import missing
    from analysis.sentences.verdict import sentences
    from analysis.statistics.comparison_table import comparison_table
    from analysis.statistics.cost import cost
    from analysis.statistics.differences import differences

    p = planned(tmp_path, "--no-verdict", "--num-trials", "4")
    p.folder.mkdir()
    agree(p)
    jobs = make(p)
    play(jobs)
    jobs.comparison.write()
    jobs.decisions.append("session", seconds=1.0, cores=2, finished=jobs.complete)
    study = load(p.folder)
    lines = answers(study, differences(study), cost(study), 80)
    assert jobs.complete and missing(study, cost(study)) == []
    assert all("Best of teacher " in " ".join(found) for found in (lines, sentences(study, comparison_table(study))))
    best = jobs.search.ranking("ema")[0]
    assert (
        f"{best.label}, linear accuracy {best.value:.1f} percent at epoch 30." in " ".join(lines)
        and max(map(len, lines)) <= 80
    )


def test_a_search_alone_is_complete_although_its_budget_went_with_its_last_trial(tmp_path):
    p = planned(tmp_path, "--no-verdict", "--num-trials", "1")
    p.folder.mkdir()
    jobs = make(p)
    job = jobs.next()
    jobs.budget_reached = "spent"
    jobs.end(job.name, lucky(job, 30))
    assert jobs.done and jobs.complete and len(jobs.decisions.of("select")) == 2


def test_a_longer_search_is_raced_anew_and_its_choice_is_on_record_whoever_wins(tmp_path):
    p = plan(tmp_path, num_trials=8, rule="none", top_k=2, race=1)
    play(make(p))
    longer = plan(tmp_path, num_trials=24, rule="none", top_k=2, race=1)
    jobs = make(longer)
    play(jobs)
    assert len(jobs.decisions.of("race")) > 2  # others raced than before
    for level in STUDY.levels:
        order = [line["event"] for line in jobs.decisions.events if line.get("teacher") == level]
        assert [event for event in order if event in ("race", "select")][-1] == "select"
    chosen = len(jobs.decisions.of("select"))
    jobs.decisions.close()
    assert len(make(longer).decisions.of("select")) == chosen  # and once


@pytest.mark.parametrize("group, name", [("search", "top_k"), ("stopping", "rule"), ("stopping", "collapse_rank")])
def test_a_study_whose_settings_lost_one_is_refused_in_one_line(tmp_path, group, name):
    import json

    old = planned(tmp_path, "--study", "old")
    old.folder.mkdir()
    agree(old)
    Decisions(old.folder).append("select", trials=[])
    path = old.folder / "study.json"
    content = json.loads(path.read_text())
    del content[group][name]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=rf"{group}\.{name} = None"):
        agree(planned(tmp_path, "--resume", "--study", "old"))


def test_a_study_too_short_for_a_rung_goes_on_as_it_began(tmp_path):
    """The usual first rung lies behind its end, so nobody is judged; resumed, that is no wrong --grace."""
    begun = planned(tmp_path, "--study", "short", "--epochs", "3")
    begun.folder.mkdir()
    agree(begun)
    Decisions(begun.folder).append("select", trials=[])
    again = planned(tmp_path, "--study", "short", "--epochs", "3", "--resume")
    agree(again)
    assert again.rungs == begun.rungs == ()
    with pytest.raises(UsageError, match="--grace 5: no rung lies in the first half of 3 epochs"):
        planned(tmp_path, "--epochs", "3", "--grace", "5")
