"""Rules of a study at their edges: the last epoch, what a lag shows to whom, progress, splits, which gate."""

import math

import pytest
from engine import make, plan, play, seen_of
from small import config

from search_spaces import step2_rate as space
from studies.engine.failures import PREEMPTIONS_WITHOUT_PROGRESS, Failures
from studies.engine.job import Seen
from studies.engine.sampling import Sampling
from studies.engine.stopping import Ladder
from studies.engine.stopping.asha import AshaStop
from studies.step2_rate import STUDY
from trainer.gates import judge, latest

LOW = {"linacc": 50.0}


def test_a_trial_that_arrives_is_complete_whatever_its_rank(tmp_path):
    """Stopping saves epochs; at the last one there is none left to save, and its score stands."""
    jobs = make(plan(tmp_path, epochs=30, grace=10, collapse_rank=1.5, num_trials=1))
    job = jobs.next()
    for epoch in range(1, 30):
        assert not jobs.report(job.name, Seen(epoch, 50.0, epoch, rank=3.0, objectives=LOW))
    last = Seen(30, 50.0, 30, rank=1.1, objectives=LOW)
    assert not jobs.report(job.name, last)
    assert jobs.end(job.name, last) == "complete" and jobs.decisions.of("stop") == []


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_suggestion_k_knows_exactly_the_trials_up_to_k_minus_lag(lag):
    sampling = Sampling(STUDY, 3, lag=lag)
    for number in range(14):
        sampling.suggest(number)
        told = sum(trial.state.is_finished() for trial in sampling.trials())
        assert told == max(0, number - lag + 1)
        sampling.tell(number, "complete", 30, {"linacc": float(number)})


@pytest.mark.parametrize("lag", [1, 2, 3, 6])
def test_a_judgement_with_a_lag_counts_exactly_the_trials_up_to_its_number_minus_lag(lag):
    ladder, values = Ladder(AshaStop(6, 3, 3)), [math.sin(7 * trial) for trial in range(24)]
    for trial, value in enumerate(values):
        ladder.put("", trial, 3, value)  # all are there already; most of them must not matter
    for trial, value in enumerate(values):
        peers = [other for number, other in enumerate(values) if number <= trial - lag] + [value]
        found = ladder.decide("", trial, 3, value, lag)
        assert found.peers == len(peers)
        assert found.stop == (sum(other > value for other in peers) >= max(1, len(peers) // 3))


def test_a_run_that_only_repeats_its_last_epoch_makes_no_progress():
    failures = Failures(0)
    failures.progressed("a", 4)
    for _ in range(PREEMPTIONS_WITHOUT_PROGRESS):
        assert failures.note("a", "preempted")
        failures.progressed("a", 4)  # resumed: the epoch it had
        failures.progressed("a", 3)  # or one before it
    assert not failures.note("a", "preempted")
    failures.progressed("a", 5)
    assert failures.note("a", "preempted")


def test_a_trial_that_was_stopped_is_on_no_front(tmp_path):
    """At its rung it had a higher R2 than anybody has at the end; that does not make it a point of the front."""

    def seen(job, epoch):
        now = seen_of(job, epoch)
        r2 = 0.9 - epoch / 100 if job.trial is not None else 0.5
        return Seen(epoch, now.score, epoch, rank=9.0, objectives={"linacc": now.score, "r2_action": r2})

    jobs = make(plan(tmp_path, num_trials=20, grace=3, objectives=("linacc", "r2_action"), top_k=3))
    play(jobs, seen=seen)
    for teacher in space.TEACHERS:
        ranked = jobs.search.ranking(teacher)
        states = [candidate.state for candidate in ranked]
        assert {"complete", "pruned"} <= set(states)
        assert states == sorted(states), "a stopped trial stands before one that went the whole way"


def test_a_gate_reads_the_split_that_selection_may_see():
    rule = "gates.g={epoch: 2, rank_agg_min: 2}"

    def line(split, rank):
        return {"event": "eval", "split": split, "epoch": 2, "metrics": {"rank_pr/z_agg@3": rank}}

    for lines in (
        [line("validation", 1.0), line("test", 9.0)],
        [line("test", 9.0), line("validation", 1.0)],
        [line("test", 9.0)],
    ):
        assert not judge(config(rule), "g", lines).passed
    assert judge(config(rule), "g", [line("test", 1.0), line("validation", 9.0), line("train", 1.0)]).passed


def test_the_gate_of_a_run_is_the_latest_it_reaches():
    gates = ["gates={a: {epoch: 3, rank_agg_min: 1}, c: {epoch: 10, rank_agg_min: 1}, b: {epoch: 30, rank_agg_min: 1}}"]
    reached = {epochs: latest(config(*gates, epochs=epochs)) for epochs in (1, 3, 9, 10, 29, 30)}
    assert reached == {1: None, 3: "a", 9: "a", 10: "c", 29: "c", 30: "b"}


@pytest.mark.parametrize("epochs, grace, rungs", [(27, 3, (3, 9)), (30, 4, (4, 12)), (30, 20, ())])
def test_the_epochs_expected_are_those_of_halving_at_every_rung(tmp_path, epochs, grace, rungs):
    """Each rung lets one in eta on: nine trials of 27 epochs with rungs at 3 and 9 take 9 x 3 + 3 x 6 + 1 x 18."""
    p = plan(tmp_path, num_trials=9, epochs=epochs, grace=grace, arms=(), confirm=())
    assert p.rungs == rungs
    alive, before, expected = 9.0, 0, 0.0
    for rung in (*rungs, epochs):
        expected += alive * (rung - before)
        alive, before = alive / 3, rung
    assert p.expected_epochs() == pytest.approx(expected) and p.most_epochs == 9 * epochs
