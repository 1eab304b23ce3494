"""Ray dies under a study: the driver ends by itself, says how to go on, and counts it against no trial."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import processes
from faults.study import ROOT, Study
from small import SMALL

from studies.command import exit_codes
from studies.executors import connection, lean_start
from studies.executors.connection import PATIENCE
from studies.executors.lifeline import SILENT_SECONDS, ClusterLost, Lifeline, within
from studies.executors.private_folder import write_private
from studies.executors.tune_executor import TuneExecutor
from studies.running.processors import processors_here
from trainer.workers.failure import describe

pytestmark = pytest.mark.heavy


@pytest.fixture
def study(tmp_path, monkeypatch):
    """One that runs, on a Ray of its own, in a folder with a trainer.py of the user's, which is not ours."""
    (tmp_path / "trainer.py").write_text("raise RuntimeError('the user\\'s trainer.py was imported')\n")
    words = ["--num-trials", "4", "--stopping", "none", "--epochs", "30", "--seeds", "1", *SMALL]
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as place, monkeypatch.context() as here:
        here.setenv("TMPDIR", place)
        here.chdir(tmp_path)
        study = Study(tmp_path / "results", *words).start()
        # all that start at once, as each takes one of Ray's workers, which is idle until then
        study.until(lambda: len(study.decisions("start")) >= min(4, processors_here()), "its first trials")
        study.until(lambda: study.epochs >= 1, "an epoch")
        yield study
        if study.driver.poll() is None:
            study.kill()


@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
def test_a_dead_server_ends_the_driver_with_the_resume_command(study, server):
    """Before, no other study joins this one's Ray."""
    pids = processes.below(study.driver.pid)
    titles = [processes.title(pid) for pid in pids]
    (killed,) = [pid for pid in pids if processes.title(pid).split(" ")[0].endswith(f"/{server}")]
    if server == "gcs_server":
        for trial in processes.named("ray::ImplicitFunc", pids):
            processes.freeze(trial)  # it takes what is judged here from nobody, only processors
        _refused(study)
    processes.kill(killed)
    began = time.monotonic()
    said = study.wait(exit_codes.LOST_CLUSTER, seconds=60)  # measured: see the assertion below
    assert time.monotonic() - began < 60
    assert (
        "Continue with:" in said
        and said.rstrip().endswith("--resume " + " ".join(SMALL))
        or "--resume" in said.splitlines()[-1]
    )
    assert "Traceback" not in said and "was imported" not in said
    study.gone(30)
    _nothing_was_started_for_nothing(titles)
    assert [line for line in study.decisions("fail") if line["counted"]] == []
    assert study.decisions("finish") == [] or all(line["state"] == "complete" for line in study.decisions("finish"))


def _refused(study):
    """Another is told to join exactly this Ray, with a token of its own, which is named."""
    place = Path(os.environ["TMPDIR"])
    write_private(place / "another", "0" * 64)
    ((gcs, _),) = [node for node in connection._nodes(Path("/proc")) if node[1].startswith(str(place))]
    words = ["--results-dir", str(place / "second"), "--wandb", "off", "--across-commits", "--address", gcs]
    none = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR")
    given = {name: value for name, value in os.environ.items() if name not in none}
    given |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN_PATH": str(place / "another")}
    command = [sys.executable, str(ROOT / "studies" / "step2_rate.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=given)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"the cluster refused the token in {place / 'another'}" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert study.driver.poll() is None and study.decisions("fail") == []


def _nothing_was_started_for_nothing(titles):
    """Of Ray's workers and servers, before anybody asked for one: see lean_start.py."""
    workers = [title for title in titles if title.startswith("ray::") and "Agent" not in title]
    assert len(workers) == min(4, processors_here()) and not any("IDLE" in title for title in workers)
    assert [title for title in titles if "monitor.py" in title or "dashboard.py" in title] == []


def test_every_setting_of_ray_is_one_that_ray_has():
    """Ray heeds no setting that it does not know, and says nothing."""
    import ray

    home = Path(ray.__file__).parent
    server = (home / "core" / "src" / "ray" / "raylet" / "raylet").read_bytes()
    python = b"".join((home / part).read_bytes() for part in ("_private/node.py", "_private/worker.py"))
    for name in lean_start.WARM | lean_start.COLD | PATIENCE:
        assert name.encode() in server + python, name
    assert lean_start.first_workers(processors_here()) == lean_start.WARM
    assert lean_start.first_workers(processors_here() - 1) == lean_start.COLD
    for module in lean_start.WARM["RAY_preload_python_modules"].split(","):
        assert importlib.util.find_spec(module), f"{module}: Ray would go on without"


def test_helpers_of_this_ray_alone_are_ended(tmp_path):
    (tmp_path / "monitor.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, str(tmp_path / "monitor.py")]
    folders = (tmp_path / "ours", tmp_path / "other")
    ours, other = (subprocess.Popen([*command, f"--logs-dir={f}/logs"], stdout=subprocess.PIPE) for f in folders)
    try:
        other.stdout.readline()  # both run
        with lean_start.without_helpers(folders[0]):
            assert ours.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.communicate()


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


def heard(executor):
    """The next event of an executor whose thread is at work."""
    while True:
        for event in executor.events():
            return event


def test_an_attempt_that_died_with_ray_is_not_the_trials_fault():
    lifeline = Lifeline({"the head": ("127.0.0.1", 1)}, [].append)
    trial = SimpleNamespace(config={"name": "t0"}, last_result={})
    executor = TuneExecutor(
        lambda end: end.failed(trial, describe(RuntimeError("The actor died unexpectedly")), False),
        None,
        None,
        lifeline,
    )
    executor.start({"name": "t0"})
    event = heard(executor)
    assert (event.what, event.name, event.kind) == ("failed", "t0", "preempted") and "went away" in event.reason
    executor.close(finished=True)


def test_a_study_that_looks_around_hears_that_ray_is_gone():
    lifeline, over = Lifeline({}, [].append), threading.Event()
    executor = TuneExecutor(lambda _: over.wait(), None, None, lifeline)
    executor.start({"name": "t0"})
    assert list(executor.events()) == []
    lifeline._lost = "the head does not answer"
    with pytest.raises(ClusterLost, match="the head does not answer"):
        list(executor.events())
    over.set()
    executor.close(finished=False)


def test_tune_stands_still_while_the_study_thinks_and_ends_when_the_study_does():
    done, trial = [], SimpleNamespace(config={"name": "t0"}, last_result={"epoch": 1})

    def fit(end):
        done.append(end.next_task())
        end.started(trial)
        done.append(end.reported(trial, {"epoch": 1}))
        end.ended(trial)
        done.append(end.next_task())

    executor = TuneExecutor(fit, None, None, Lifeline({}, [].append))
    executor.start({"name": "t0"})
    assert heard(executor).what == "start" and len(done) == 1
    assert heard(executor).what == "epoch"
    time.sleep(0.1)
    assert len(done) == 1, "the trial waits for the study"
    executor.stop("t0")
    assert heard(executor).what == "end" and done[1:] == [True]
    executor.close(finished=True)
    assert done == [{"name": "t0"}, True, "FINISHED"] and not executor._thread.is_alive()


def test_what_goes_wrong_in_tunes_thread_is_raised_in_the_study_and_a_study_that_gives_up_ends_the_thread():
    def broken(end):
        raise ZeroDivisionError("odd")

    executor = TuneExecutor(broken, None, None, Lifeline({}, [].append))
    executor.start({"name": "t0"})
    with pytest.raises(ZeroDivisionError):
        heard(executor)

    def endless(end):
        while True:
            end.step()

    executor = TuneExecutor(endless, None, None, Lifeline({}, [].append))
    executor.start({"name": "t0"})
    executor.close(finished=False)
    assert not executor._thread.is_alive()


def test_what_hangs_is_given_up():
    release = threading.Event()
    assert not within(0.05, release.wait)
    release.set()
    assert within(5, lambda: None)
