"""Stopping rules: each against its definition, in a study played through and killed anywhere, and in the replay."""

import math
import random
from dataclasses import replace
from statistics import median

import pytest
from engine import make, plan, play, score_of, seen_of

from studies.command.options import parser
from studies.engine.decisions import Decisions, comparable
from studies.engine.job import Seen
from studies.engine.plan_lines import plan_lines
from studies.engine.search import verify
from studies.engine.settings import Stopping
from studies.engine.stopping import GO, RULES, STOP, WAIT, Judgement, Ladder, Rule
from studies.replay.options import RULED
from studies.step2_rate import STUDY
from trainer.errors import UsageError

WAITING = [name for name, rule in RULES.items() if rule.waits]


def ended(jobs):
    return {line["trial"]: line["epoch"] for line in jobs.decisions.of("finish") if line["trial"] is not None}


# --- each rule alone


def test_every_rule_is_told_with_what_it_does_and_can_be_replayed():
    told = " ".join(parser(STUDY).format_help().split())
    for name, rule in RULES.items():
        assert f"{name} {rule.says}" in told and rule.says != Rule.says, name
    assert {*RULES} - {"none"} == {"gate" if name == "gates" else name for name in RULED}


def test_asha_promotes_whoever_enters_the_top_third_and_nobody_before_three_are_there():
    ladder = Ladder(RULES["asha"](30, 4, 3), unsuggested=9)
    found = []
    for trial, value in enumerate([50.0, 40.0, 60.0, 55.0, 30.0, 70.0]):
        ladder.unsuggested -= 1
        ladder.enter("a", trial)
        found.append(ladder.decide("a", trial, 4, value).verdict)
        if (ready := ladder.promotable()) is not None:
            found.append(f"promote {ready[1]}")
            ladder.promote("a", ready[1], 4)
    # of three values the best goes on, and 60 comes last; of six the two best do: 70 as it comes, 60 went before
    assert found == [WAIT, WAIT, GO, WAIT, WAIT, GO]
    ladder.unsuggested = 0  # nobody comes any more: 6 // 3 went on already
    assert sorted(trial for _, trial, _ in ladder.hopeless()) == [0, 1, 3, 4]


def test_asha_promotes_an_earlier_trial_when_later_ones_make_room():
    ladder = Ladder(RULES["asha"](30, 4, 3), unsuggested=20)
    for trial, value in enumerate([50.0, 40.0, 30.0]):
        ladder.enter("a", trial)
        ladder.decide("a", trial, 4, value)
    bracket, trial, decision = ladder.promotable()
    assert (bracket, trial, decision.peers, decision.cutoff) == ("a", 0, 3, 50.0)


def test_a_gate_opens_when_everybody_is_there_and_keeps_exactly_its_share():
    ladder = Ladder(RULES["gate"](30, 5, 2), unsuggested=0)
    for trial in range(6):
        ladder.enter("a", trial)
    values = [3.0, 5.0, 5.0, 5.0, 1.0, float("nan")]
    verdicts = [ladder.decide("a", trial, 5, value).verdict for trial, value in enumerate(values)]
    assert verdicts == [WAIT] * 5 + [STOP]
    went = []
    while (ready := ladder.promotable()) is not None:
        went.append(ready[1])
        ladder.promote("a", ready[1], 5)
    assert went == [1, 2, 3] and sorted(trial for _, trial, _ in ladder.hopeless()) == [0, 4]
    # of equal values the earlier trials
    tied = Ladder(RULES["gate"](30, 5, 2), unsuggested=0)
    for trial in range(4):
        tied.enter("a", trial)
        tied.unsuggested = 3 - trial
        tied.decide("a", trial, 5, 7.0)
    # the last one knows at once
    assert tied.promotable()[1] == 0 and [t for _, t, _ in tied.hopeless()] == [2]


def test_a_gate_does_not_wait_for_trials_that_ended_before_it():
    ladder = Ladder(RULES["gate"](30, 5, 2), unsuggested=0)
    for trial in range(3):
        ladder.enter("a", trial)
    ladder.decide("a", 0, 5, 1.0)
    ladder.decide("a", 1, 5, 2.0)
    assert ladder.promotable() is None
    ladder.leave("a", 2)  # it diverged
    assert ladder.promotable()[1] == 1


def test_the_median_rule_is_its_definition_and_lets_the_first_three_through():
    numbers, ladder, values = random.Random(0), Ladder(RULES["median"](30, 4)), []
    assert ladder.rungs == (4, 8, 12)
    for trial in range(60):
        ladder.enter("", trial)
        values.append(numbers.random())
        found = ladder.decide("", trial, 4, values[-1])
        assert found.verdict == (STOP if len(values) >= 4 and values[-1] < median(values) else GO)


def test_hyperband_gives_its_brackets_about_equal_budgets():
    rule = RULES["hyperband"](30)
    assert rule.rungs == (4, 12) and rule.brackets == 2
    turns = [rule.bracket(number) for number in range(30)]
    # 3^2/3 = 3 trials of the first bracket to 3/2 of the second
    assert turns.count(0) == 20 and turns.count(1) == 10 and turns[:6].count(1) == 2
    ladder = Ladder(rule)
    assert ladder.rungs_of("ema") == (4, 12) and ladder.rungs_of("ema/1") == (12,)


def test_none_judges_nobody():
    assert RULES["none"](30).rungs == ()


@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
def test_a_better_value_never_fares_worse(name):
    numbers = random.Random(name)
    order = {STOP: 0, WAIT: 1, GO: 2}
    for _ in range(200):
        ranked = sorted(numbers.choice([numbers.random(), float(numbers.randint(0, 3))]) for _ in range(9))
        to_come, rule = numbers.choice([0, 2]), RULES[name](30)
        verdicts = [order[rule.judge(ranked, own, 9 - n, to_come).verdict] for n, own in enumerate(ranked)]
        assert verdicts == sorted(verdicts)
        assert to_come or WAIT not in [rule.judge(ranked, own, 9 - n, 0).verdict for n, own in enumerate(ranked)]


# --- in a study


@pytest.mark.parametrize("name", RULES)
def test_a_study_under_every_rule_ends_with_each_trial_judged_and_the_best_at_full_length(tmp_path, name):
    floor = {"grace": None, "eta": None}
    jobs = make(plan(tmp_path, rule=name, num_trials=24, **floor))
    play(jobs, concurrent=3)
    epochs = ended(jobs)
    assert jobs.left == 0 and len(epochs) == 24 and not jobs.search.waiting
    rungs = jobs.plan.rungs
    assert set(epochs.values()) == {*rungs, 30} or (name == "median" and set(epochs.values()) <= {*rungs, 30})
    for level in STUDY.levels:
        best = jobs.search.ranking(level)[0]
        assert best.epoch == 30
    if rungs:
        assert 2 <= sum(epoch == 30 for epoch in epochs.values()) <= 14


def test_the_rules_differ_in_what_they_train(tmp_path):
    """Each name acts: no two of them decide alike on the same curves."""
    found = {}
    for name in RULES:
        jobs = make(plan(tmp_path / name, rule=name, num_trials=24, sampler="random", grace=None, eta=None))
        play(jobs, concurrent=3, seen=noisy)
        found[name] = tuple(sorted(ended(jobs).items()))
    assert len(set(found.values())) == len(RULES)


def noisy(job, epoch):
    """Curves that cross between the rungs."""
    score = score_of(job, epoch) + 8 * math.sin(7 * (job.trial or 0) + epoch / 3)
    return Seen(epoch, score, epoch, rank=10.0, objectives={"linacc": score, "r2_action": 0.5})


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize("killed_after", [3, 11, 25, 47, 61, 90, 140, 200])
def test_a_study_whose_trials_wait_is_continued_from_the_record(tmp_path, name, killed_after):
    """Decisions before the kill stand, nobody is judged twice, and every trial is promoted or stopped in the end."""
    p = plan(tmp_path, rule=name, num_trials=12, grace=None, eta=None)
    play(make(p), until=killed_after, seen=noisy)
    before = [comparable(line) for line in Decisions(p.folder, write=False).events]
    again = make(p)
    running = again.search.waiting.keys() & {job.trial for job in again._again}
    assert not running  # one that waits is not run on by itself
    play(again, seen=noisy)
    after = [comparable(line) for line in again.decisions.events]
    assert after[: len(before)] == before and again.left == 0
    judged = [(line["trial"], line["rung"]) for line in again.decisions.of("rung")]
    assert len(judged) == len(set(judged)) and len(ended(again)) == 12
    waited = {line["trial"] for line in again.decisions.of("rung") if line.get("wait")}
    gone_on = {line["trial"] for line in again.decisions.of("promote")}
    stopped = {line["trial"] for line in again.decisions.of("stop")}
    assert waited and waited <= gone_on | stopped
    verify(p, again.decisions, STUDY)


@pytest.mark.parametrize("name", ["gate", "hyperband"])
def test_gates_decide_alike_whoever_comes_first(tmp_path, name):
    found = set()
    for turn, turns in enumerate([None, lambda names: names[::-1], lambda names: random.Random(1).sample(names, 3)]):
        p = plan(tmp_path / str(turn), rule=name, num_trials=16, lag=4, grace=None, eta=None)
        jobs = make(p)
        play(jobs, concurrent=3, seen=noisy, turns=lambda names, t=turns: t(names) if t and len(names) == 3 else names)
        ends = {line["trial"]: (line["state"], line["epoch"]) for line in jobs.decisions.of("finish")}
        points = [line["params"] for line in jobs.decisions.of("suggest")]
        found.add(repr((sorted((k, v) for k, v in ends.items() if k is not None), points)))
    assert len(found) == 1


def test_the_sampler_learns_from_a_trial_that_waits_and_again_when_it_ends(tmp_path):
    jobs = make(plan(tmp_path, rule="gate", num_trials=6, grace=5, eta=2))
    play(jobs, until=10, concurrent=2)
    told = jobs.search.sampling.trials()
    assert [t.state.name for t in told[:2]] == ["PRUNED", "PRUNED"] and list(told[0].intermediate_values) == [5]
    play(jobs, concurrent=2)
    states = {t.number: t.state.name for t in jobs.search.sampling.trials()}
    assert sorted(states.values()).count("COMPLETE") == sum(epoch == 30 for epoch in ended(jobs).values()) > 0
    assert len(states) == 6


def test_a_budget_leaves_waiting_trials_for_the_next_driver(tmp_path):
    p = plan(tmp_path, rule="gate", num_trials=4, grace=5, eta=2)
    jobs = make(p)
    play(jobs, until=20, concurrent=4)
    jobs.budget_reached = "spent"
    assert jobs.next() is None and jobs.search.waiting
    again = make(p)
    play(again)
    assert len(ended(again)) == 4


def test_a_failed_trial_opens_the_gate_for_the_others(tmp_path):
    jobs = make(plan(tmp_path, rule="gate", num_trials=4, grace=5, eta=2, retries=0, together=True))
    running = [jobs.next() for _ in range(4)]
    for job in running[:3]:
        for epoch in range(1, 6):
            if jobs.report(job.name, seen_of(job, epoch)):
                jobs.end(job.name, seen_of(job, epoch))
    before = len(jobs.search.waiting)
    jobs.fail(running[3].name, "failed", 2, "it broke")
    assert before == 3 and (next_job := jobs.next()).name in {job.name for job in running[:3]}
    assert next_job.trial not in jobs.search.waiting


# --- one's own, and options


class Every(Rule):
    """A rule of a study's own: nobody below 53 goes on."""

    takes = ("grace",)

    def judge(self, ranked, own, place, to_come):
        return Judgement(GO if own >= 53 else STOP, 53.0)


def test_a_rule_of_ones_own_decides_and_its_source_is_registered(tmp_path):
    p = plan(tmp_path, rule="every", own=Every, grace=5, eta=3)
    jobs = make(p)
    play(jobs)
    assert {(line["value"] >= 53, line["stop"]) for line in jobs.decisions.of("rung")} == {(True, False), (False, True)}
    stopped = [line["reason"] for line in jobs.decisions.of("stop")]
    assert stopped and not any("top 1/" in reason for reason in stopped)  # what it keeps is for the rule to say
    assert "among those that Every keeps" in stopped[0] and "top 1/" not in "\n".join(plan_lines(p))
    assert len(p.stored()["stopping"]["source"]) == 16 and p.stored()["stopping"]["rule"] == "every"


def test_rules_on_record_keep_the_meaning_they_had():
    assert Stopping("asha-stop").stored(30) == {
        "rule": "asha", "grace": 4, "eta": 3, "brackets": 1, "collapse_rank": 1.5,
    }  # fmt: skip
    assert Stopping("asha").stored(30)["rule"] == "asha promoting"
    assert Stopping("gate").stored(30)["grace"] == 5


def test_one_bracket_for_all_levels_judges_them_together(tmp_path):
    apart, together = (
        make(plan(tmp_path / str(one), rule="gate", num_trials=12, grace=5, eta=3, together=one))
        for one in (False, True)
    )
    for jobs in (apart, together):
        play(jobs)
    assert {line["bracket"] for line in apart.decisions.of("rung")} == {"stopgrad", "ema"}
    assert {line["bracket"] for line in together.decisions.of("rung")} == {"all"}
    assert max(line["peers"] for line in together.decisions.of("promote")) == 12


def test_options_of_the_rules(tmp_path):
    from studies.command.options import parser
    from studies.command.planning import make_plan

    def planned(*words):
        return make_plan(parser(STUDY).parse_args(["--results-dir", str(tmp_path), *words]), STUDY)

    assert planned().stopping.rule == "asha" and planned("--deterministic").stopping.rule == "gate"
    assert planned().rungs == (4, 12) and planned("--stopping", "gate").rungs == (5, 10)
    assert planned("--stopping", "median").rungs == (4, 8, 12)
    assert planned("--stopping", "hyperband").rule.brackets == 2 and planned("--one-bracket").stopping.together
    for words, said in (
        (["--stopping", "asha", "--deterministic"], "decides by who arrives first"),
        (["--stopping", "median", "--eta", "2"], "has no effect with --stopping median"),
        (["--stopping", "gate", "--brackets", "2"], "has no effect with --stopping gate"),
        (["--stopping", "none", "--collapse-rank", "1"], "has no effect with --stopping none"),
        (["--stopping", "none", "--one-bracket"], "has no effect with --stopping none"),
    ):
        with pytest.raises(UsageError, match=said):
            planned(*words)


@pytest.mark.parametrize("usual", [{}, {"one_bracket": True, "collapse_rank": 2.0}], ids=["begun", "of the study"])
def test_an_option_without_effect_is_refused_only_where_a_new_study_is_given_it(tmp_path, usual):
    """What was begun goes on by the command it was begun with; a study's own default is no option that was given."""
    from studies.command.search_planning import stopping

    study = replace(STUDY, defaults=usual)
    words = ["--stopping", "none", *([] if usual else ["--one-bracket"])]
    before = None if usual else {"rule": "none", "together": True, "collapse_rank": 0.0}
    planned = stopping(parser(study).parse_args(words), study, 30, before)
    assert (planned.rule, planned.together, planned.collapse_rank) == ("none", True, 0)


DIP = (
    (71, 72, 73, 74, 74, 69, 67, 66, 61, 55, 50, 46, 47, 51, 54, 60, 61, 62, 61, 60, 60, 60, 61, 61, 61, 61, 61, 61),
    (51, 51, 52, 53, 53, 54, 56, 56, 51, 49, 46, 45, 42, 42, 41, 41, 42, 43, 42, 42),
)
"""20-nearest-neighbour accuracy of h_jepa_digits by epoch, from 0 on, two seeds."""


def test_h_jepas_search_judges_nobody_before_the_dip_is_over(tmp_path):
    from studies import hjepa_features, hjepa_rate, hjepa_regulariser
    from studies.command.options import parser
    from studies.command.planning import make_plan

    def planned(*words):
        options = parser(hjepa_rate.STUDY, "--quick" in words)
        return make_plan(options.parse_args(["--results-dir", str(tmp_path), *words]), hjepa_rate.STUDY)

    (rung,) = planned().rungs
    for curve in DIP:
        lowest = min(range(len(curve)), key=curve.__getitem__)
        assert curve[lowest] < curve[0] and lowest < rung and 2 * rung <= 30
    assert planned("--quick").rungs == (5,) and planned("--grace", "10").rungs == (10,)
    assert planned().stopping.collapse_rank == 0  # the untrained encoder's mean token has rank 1.4
    assert planned("--stopping", "none").rungs == ()  # the study's own grace is no option that was given
    with pytest.raises(UsageError, match="--grace 9: has no effect with --stopping none"):
        planned("--stopping", "none", "--grace", "9")
    for fixed in (hjepa_features.STUDY, hjepa_regulariser.STUDY):  # all runs to their end
        with pytest.raises(UsageError, match="unknown option '--grace'"):
            parser(fixed).parse_args(["--grace", "15"])
