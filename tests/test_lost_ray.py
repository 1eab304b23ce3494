"""Ray dies under a study: the driver ends by itself, says how to go on, and counts it against no trial."""

import threading
import time
from types import SimpleNamespace

import pytest
from engine import make, plan
from faults import processes
from faults.study import Study
from small import SMALL

from studies import exit_codes
from studies.interrupt import Interrupt
from studies.lifeline import SILENT_SECONDS, ClusterLost, Lifeline, within
from studies.tune_adapters import JobCallback
from studies.watchdog import Watchdog
from trainer.records import read


@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
def test_a_dead_server_ends_the_driver_with_the_resume_command(tmp_path, server):
    study = Study(tmp_path, "--num-trials", "4", "--stopping", "none", "--epochs", "30", "--seeds", "1", *SMALL).start()
    study.until(lambda: study.epochs >= 1, "an epoch")
    servers = [pid for pid in processes.below(study.driver.pid) if processes.title(pid).split(" ")[0].endswith(f"/{server}")]
    assert len(servers) == 1
    processes.kill(servers[0])
    began = time.monotonic()
    said = study.wait(exit_codes.LOST_CLUSTER, seconds=60)  # measured: see the assertion below
    assert time.monotonic() - began < 60
    assert "Continue with:" in said and said.rstrip().endswith("--resume " + " ".join(SMALL)) or "--resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    study.gone(30)
    assert [line for line in study.decisions("fail") if line["counted"]] == []
    assert study.decisions("finish") == [] or all(line["state"] == "complete" for line in study.decisions("finish"))


def test_what_does_not_answer_for_long_enough_is_lost():
    now, said, ended = [0.0], [], []
    line = Lifeline({"the raylet": ("127.0.0.1", 1)}, said.append, ended.append, lambda: now[0])
    assert line.gone_now().startswith("the raylet does not answer at 127.0.0.1:1")
    line._over.wait = lambda seconds: now.__setitem__(0, now[0] + seconds) or False  # time passes as it is waited for
    line._heeded.wait = lambda seconds: False
    line._watch()
    assert now[0] >= SILENT_SECONDS and len(said) == 1 and ended == [exit_codes.LOST_CLUSTER]
    with pytest.raises(ClusterLost, match="the raylet does not answer"):
        line.check()


def test_a_short_silence_is_forgiven(monkeypatch):
    now = [0.0]
    line = Lifeline({"x": ("127.0.0.1", 1)}, [].append, [].append, lambda: now[0])
    answers = iter([None, "x", "x", "x", None, "x", "x", "x", "x", None, None])
    monkeypatch.setattr(line, "gone_now", lambda: next(answers))

    def wait(seconds):
        now[0] += seconds
        return now[0] > 22

    line._over.wait = wait
    line._watch()
    line.check()


def test_an_attempt_that_died_with_ray_is_not_the_trials_fault(tmp_path):
    jobs = make(plan(tmp_path, retries=0))
    lifeline = Lifeline({"the head": ("127.0.0.1", 1)}, [].append)
    errors = {"id": RuntimeError("The actor died unexpectedly")}
    callback = JobCallback(jobs, lambda *_: None, Watchdog(60), None, Interrupt(), lambda: None, lifeline, errors)
    job = jobs.next()
    callback.on_trial_error(0, [], SimpleNamespace(config={"name": job.name}, last_result={}, trial_id="id"))
    (line,) = [line for line in read(tmp_path / "decisions.jsonl") if line["event"] == "fail"]
    assert (line["kind"], line["counted"], line["again"]) == ("preempted", False, True) and "went away" in line["reason"]


def test_what_hangs_is_given_up():
    release = threading.Event()
    assert not within(0.05, release.wait)
    release.set()
    assert within(5, lambda: None)
