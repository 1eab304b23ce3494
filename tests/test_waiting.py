"""Trials that wait at a rung, under an executor that takes its time: stops arrive late, workers die, drivers too."""

import random

import pytest
from engine import make, plan, score_of

from studies.engine.decisions import Decisions
from studies.engine.job import PAUSED, Seen
from studies.engine.search import verify
from studies.engine.stopping import RULES
from studies.step2_rate import STUDY


class Died(Exception):
    """The driver was killed."""


class Slowly:
    """Runs jobs as executors do: what a run says and that it ended are events of their own, in any order between runs.

    Args:
        places: runs at once.
        failing: how often an attempt dies, from 0 to 1; also after it was told to stop.
        kill_at: the driver dies right after so many lines were put on record.
    """

    def __init__(self, jobs, numbers, places=3, failing=0.0, kill_at=None, trained=None):
        self.jobs, self.numbers, self.places, self.failing = jobs, numbers, places, failing
        self.reached = {} if trained is None else trained
        self.epoch, self.ending = {}, set()
        if kill_at is not None:
            self._kill_at(kill_at)

    def _kill_at(self, left):
        append = self.jobs.decisions.append

        def counted(*args, **kwargs):
            nonlocal left
            append(*args, **kwargs)
            left -= 1
            if left < 0:
                raise Died

        self.jobs.decisions.append = counted

    def run(self):
        self.hand_out()
        steps = 0
        while not self.jobs.done:
            assert self.epoch, f"nothing runs, but {self.jobs.left} jobs are left"
            self.step(self.numbers.choice(sorted(self.epoch)))
            self.hand_out()
            steps += 1
            assert steps < 20_000
        return self

    def hand_out(self):
        while len(self.jobs.running) < self.places and (job := self.jobs.next()) is not None:
            assert job.name not in self.epoch, f"{job.name} has a worker already"
            self.epoch[job.name] = self.reached.get(job.name, 0)
            self.jobs.started(job.name)

    def step(self, name):
        job, epoch = self.jobs.running[name], self.epoch[name]
        if self.numbers.random() < self.failing:
            del self.epoch[name]
            self.ending.discard(name)
            self.jobs.fail(name, "failed", epoch, "it broke")
            return
        if name in self.ending or epoch == self.jobs.plan.epochs:
            del self.epoch[name]
            self.ending.discard(name)
            self.jobs.end(name, said(job, epoch))
            return
        self.epoch[name] = self.reached[name] = epoch + 1
        if self.jobs.report(name, said(job, epoch + 1)):
            self.ending.add(name)


def said(job, epoch):
    """One in seven trials collapses, one in eleven has no score."""
    number = job.trial or 0
    score = score_of(job, epoch) + number * 7 % 5 if number % 11 != 10 else None
    rank = 1.0 if number % 7 == 5 and epoch >= 5 else 9.0
    return Seen(epoch, score, epoch, rank=rank, objectives={"linacc": score, "r2_action": 0.5})


def studied(folder, name, **changes):
    return plan(folder, **{"rule": name, "num_trials": 12, "grace": None, "eta": None, "collapse_rank": 1.5, **changes})


def whole(jobs):
    """Everybody ended once, nobody was judged twice at a rung, and whoever waited was promoted or stopped."""
    assert jobs.left == 0 and not jobs.running and not jobs.search.waiting and jobs.comparison.selected
    last = {line["trial"]: line for line in jobs.decisions.of("finish") if line["trial"] is not None}
    assert len(last) == jobs.plan.num_trials
    judged = [(line["trial"], line["rung"]) for line in jobs.decisions.of("rung")]
    gone_on = [(line["trial"], line["rung"]) for line in jobs.decisions.of("promote")]
    assert len(judged) == len(set(judged)) and len(gone_on) == len(set(gone_on))
    stopped = {line["trial"] for line in jobs.decisions.of("stop")}
    waited = {line["trial"] for line in jobs.decisions.of("rung") if line.get("wait")}
    assert waited <= {trial for trial, _ in gone_on} | stopped
    verify(jobs.plan, Decisions(jobs.plan.folder, write=False), STUDY)


WAITING = [name for name, rule in RULES.items() if rule.waits]


@pytest.mark.parametrize(
    "name, seed", [*((name, 0) for name in RULES), *((name, n) for name in WAITING for n in (1, 8))]
)
def test_a_study_whose_workers_end_late_and_fail_comes_to_its_end(tmp_path, name, seed):
    jobs = make(studied(tmp_path, name, top_k=2, race=seed % 2))
    whole(Slowly(jobs, random.Random(seed), places=4, failing=seed / 800).run().jobs)


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_that_dies_after_any_line_is_continued(tmp_path, name, seed):
    numbers, trained, p = random.Random(seed), {}, studied(tmp_path, name, race=1, top_k=2)
    for _ in range(8):
        try:
            at = numbers.randrange(60)
            Slowly(make(p), numbers, places=3, failing=0.005, kill_at=at, trained=trained).run()
        except Died:
            pass
    jobs = make(p)
    whole(Slowly(jobs, numbers, trained=trained).run().jobs)


def begun(folder, number, name, **changes):
    """A study and so many of its trials, all of one bracket, each on a worker."""
    jobs = make(studied(folder, name, together=True, num_trials=number, **changes))
    return jobs, [jobs.next() for _ in range(number)]


def tell(jobs, job, epochs, score, rank=9.0):
    """A run's epochs with a score; whether it is told to stop."""
    seen = [Seen(epoch, score, epoch, rank=rank, objectives={"linacc": score}) for epoch in range(1, epochs + 1)]
    return [jobs.report(job.name, one) for one in seen][-1], seen[-1]


def test_a_trial_that_was_told_to_wait_has_one_worker_until_it_ended(tmp_path):
    """It is promoted by what others report meanwhile only when its worker is free."""
    jobs, (a, b, c, _) = begun(tmp_path, 4, name="asha")
    told, last = tell(jobs, a, 4, 60.0)
    for other in (b, c):
        jobs.end(other.name, tell(jobs, other, 4, 50.0)[1])
    assert told and jobs.next().trial is None and not jobs.decisions.of("promote")
    assert jobs.end(a.name, last) == PAUSED and jobs.next().name == a.name and len(jobs.decisions.of("promote")) == 1


def test_a_trial_that_waits_in_vain_ends_once_although_its_worker_is_slow(tmp_path):
    jobs, (a, b, c) = begun(tmp_path, 3, name="asha")
    (_, last), told = tell(jobs, a, 4, 50.0), tell(jobs, b, 4, 60.0)
    jobs.end(b.name, told[1])
    jobs.fail(c.name, "failed", 2, "it broke", final=True)  # nobody can arrive any more
    assert jobs.end(a.name, last) == PAUSED
    ends = [line["trial"] for line in jobs.decisions.of("finish")]
    assert ends.count(0) == 1 and jobs.search.waiting.keys() == {1}


def test_a_trial_that_collapsed_at_a_gate_does_not_wait_there(tmp_path):
    jobs, (a, b, c) = begun(tmp_path, 3, name="gate")
    jobs.end(a.name, tell(jobs, a, 5, 50.0)[1])
    told, collapsed = tell(jobs, b, 5, 40.0, rank=1.0)
    jobs.end(c.name, tell(jobs, c, 5, 30.0)[1])  # opens the gate before the worker of the collapsed one is free
    assert told and jobs.end(b.name, collapsed) == "collapsed"
    assert jobs.next().name == a.name and [line["trial"] for line in jobs.decisions.of("promote")] == [0]


def test_a_worker_that_dies_after_it_was_told_to_wait_has_done_its_part(tmp_path):
    jobs, (a, b) = begun(tmp_path, 2, name="gate", retries=0)
    tell(jobs, a, 5, 50.0)
    assert jobs.fail(a.name, "failed", 5, "its process was killed") and jobs.failed == 0
    assert jobs.search.waiting.keys() == {0} and jobs.left == 1 + jobs.comparison.left
    jobs.end(b.name, tell(jobs, b, 5, 40.0)[1])
    assert jobs.next().name == a.name
