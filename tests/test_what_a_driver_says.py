"""What a study's driver says, and where, before and beside training: nothing here trains or starts Ray."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine import make, plan
from test_driver import Executor, conductor_of
from test_resume import planned, recorded_by

from studies import step2_rate
from studies.command import cli, exit_codes
from studies.command.interrupt import Interrupt
from studies.doctor import accelerators
from studies.engine.settings import Resources
from studies.executors.lifeline import ClusterLost
from studies.running import driver
from studies.running.conductor import WAITING_SECONDS
from studies.running.watchdog import Watchdog
from trainer import __main__ as trainer_main
from trainer.errors import UsageError
from trainer.record import identity
from trainer.record.lock import Lock
from trainer.redaction import marks
from trainer.workers.failure import Told

ROOT = Path(__file__).resolve().parent.parent
HERE = identity.processor()
UNKNOWN = "commit unknown (detected dubious ownership in repository): told apart by a hash"


@pytest.fixture
def untrained(monkeypatch):
    """A study is interrupted where it would begin to train."""
    monkeypatch.setattr(driver, "_execute", lambda *_: False)


def test_a_driver_keeps_a_log_of_what_it_printed_and_how_it_ended(tmp_path, untrained, capsys):
    command = ["--quick", "--results-dir", str(tmp_path), "--study", "s", "--wandb", "off"]
    assert step2_rate.main(command) == exit_codes.INTERRUPTED
    printed, log = capsys.readouterr().out, (tmp_path / "s" / "study.log").read_text()
    for said in ("study      s", "loading Optuna and reading what is on record", "interrupted; everything so far"):
        assert said in printed and said in log
    assert f"exit code {exit_codes.INTERRUPTED}: " in log


def test_a_commit_that_git_does_not_name_is_said(tmp_path, untrained, capsys, monkeypatch):
    monkeypatch.setattr(driver, "unknown_commit", lambda: UNKNOWN)
    step2_rate.main(["--quick", "--results-dir", str(tmp_path), "--wandb", "off"])
    assert f"note: {UNKNOWN}" in capsys.readouterr().out
    monkeypatch.setattr("trainer.record.identity.unknown_commit", lambda: UNKNOWN)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.loop.train", interrupted)
    assert trainer_main.main(["--results-dir", str(tmp_path), "--wandb", "off"]) == exit_codes.INTERRUPTED
    assert f"note: {UNKNOWN}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind, card, told",
    [
        ("sparc64", None, True),
        (HERE, None, False),
        (None, None, False),
        (f"{HERE}, Card 1", "Card 1", False),
        (f"{HERE}, Card 1 MIG 1g.5gb", "Card 1", False),
        (f"{HERE}, Card 1", "Card 2", True),
        (f"{HERE}, Card 1", None, True),
        (HERE, "Card 1", True),
    ],
)
def test_going_on_with_another_kind_of_processor_is_said(tmp_path, untrained, capsys, monkeypatch, kind, card, told):
    """It rounds otherwise, so the promise of the same bits ends there; of a GPU, each model does."""
    monkeypatch.setattr(driver, "cards", lambda _: [card] if card else [])
    command = ["--quick", "--results-dir", str(tmp_path), "--study", "s", "--wandb", "off", "--across-commits"]
    step2_rate.main(command)
    assert "kind of processor" not in capsys.readouterr().out
    recorded_by(tmp_path / "s", "a" * 40, **({"processor": kind} if kind else {}))
    step2_rate.main([*command, "--resume"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "kind of processor" in line] or [""]
    here = f"{HERE}, {card}" if card else HERE
    assert line.startswith("note: ") == told and (f"{kind} (1); this is {here}, which" in line) == told


def test_the_gpus_of_trials_are_asked_for_their_model(tmp_path, monkeypatch):
    two = [accelerators.Gpu(str(number), "Card 1", 1.0, 1.0) for number in range(2)]
    p = plan(tmp_path, resources=Resources(1, 1, 1, "local", 2))
    for found, models in ((two, ["Card 1"]), ([], ["of unknown model"])):
        monkeypatch.setattr(accelerators, "ask_driver", lambda found=found: (found, None))
        assert driver.cards(p) == []  # nothing is on record
        (p.folder / "runs").mkdir(parents=True, exist_ok=True)
        assert driver.cards(p) == models and driver.cards(plan(tmp_path)) == []
        (p.folder / "runs").rmdir()


def test_a_lost_cluster_has_an_exit_code_and_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    def lost(*_):
        raise ClusterLost("the raylet does not answer at h:1")

    monkeypatch.setattr(cli, "_run", lost)
    monkeypatch.setattr(cli, "resume_command", lambda: "python the_study.py --resume")
    assert step2_rate.main(["--quick", "--results-dir", str(tmp_path)]) == exit_codes.LOST_CLUSTER
    error = capsys.readouterr().err
    assert "the raylet does not answer at h:1" in error and error.endswith("\n  python the_study.py --resume\n")


def test_that_nothing_can_start_is_said_with_what_is_free(tmp_path):
    now, said = [0.0], []
    jobs = make(plan(tmp_path))
    conductor = conductor_of(
        jobs,
        Executor(),
        watchdog=Watchdog(600, lambda: now[0]),
        show=lambda what, name, fields: said.append((what, fields)),
    )
    conductor.hand_out()  # nobody has a place yet
    while now[0] <= WAITING_SECONDS + 5:
        conductor.look_around()
        now[0] += 5
    assert said == [("waiting", {"have": {"CPU": 2.0}, "free": {"CPU": 0.0}})]
    while now[0] <= 700:
        conductor.look_around()
        now[0] += 5
    assert [what for what, _ in said] == ["waiting", "stalled"]


def test_that_ray_starts_is_said_before_it_does(tmp_path, monkeypatch):
    from studies.executors import ray_tune
    from studies.executors.lean_start import first_workers

    said = []

    def start(*_):
        assert said == ["starting Ray on this machine"]
        raise UsageError("it did not")

    monkeypatch.setattr(ray_tune, "start", start)
    for name, value in (ray_tune.SETTINGS | first_workers(1)).items():
        monkeypatch.setenv(name, value)
    parts = {"first": 1, "address": None, "dashboard": False, "interrupt": Interrupt(), "hide": str}
    parts |= {"doing": said.append, "note": said.append, "capacity": said.append}
    with pytest.raises(UsageError, match="it did not"):
        with ray_tune.opened("s", Resources(1, 0, 1, "local", 1), tmp_path, **parts):
            pass


def test_a_ray_that_asks_for_no_token_is_not_used(tmp_path, monkeypatch):
    """Whoever reaches one of its ports could run code: better no study. And its workers find our packages first."""
    import ray

    from studies.executors import connection

    ended, started_in = [], []
    monkeypatch.chdir(tmp_path)  # where a user's own trainer.py may lie
    monkeypatch.setattr(ray, "init", lambda **_: started_in.append(Path.cwd()) or SimpleNamespace())
    monkeypatch.setattr(ray, "shutdown", lambda **_: ended.append(True))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with connection.own_token(tmp_path, os.environ), pytest.raises(UsageError, match="without asking for a token"):
        connection.start(tmp_path, dashboard=False)
    assert ended and os.environ["RAY_AUTH_MODE"] == "disabled"
    assert started_in == [ROOT] and Path.cwd() == tmp_path


def test_a_dashboard_says_where_its_token_is(tmp_path, monkeypatch):
    import ray

    from studies.executors import ray_tune
    from studies.executors.lean_start import first_workers

    said = []

    def enough(*_):
        raise UsageError("enough")

    monkeypatch.setattr(ray_tune, "start", lambda *_: SimpleNamespace(dashboard_url="127.0.0.1:8265"))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    monkeypatch.setattr(ray_tune, "_watched", enough)
    monkeypatch.setattr(ray_tune, "_shut_down", lambda lost: None)
    for name, value in (ray_tune.SETTINGS | first_workers(1)).items():
        monkeypatch.setenv(name, value)
    parts = {"first": 1, "address": None, "dashboard": True, "interrupt": Interrupt(), "hide": str}
    parts |= {"doing": lambda text: None, "note": said.append, "capacity": said.append}
    with pytest.raises(UsageError, match="enough"):
        with ray_tune.opened("s", Resources(1, 0, 1, "local", 1), tmp_path, **parts):
            pass
    (line,) = said
    assert "dashboard: http://127.0.0.1:8265 " in line and f"cat {tmp_path / 'token'}" in line


def test_a_trial_of_ray_tells_its_failure_without_secrets(monkeypatch):
    import ray
    from ray import tune

    from trainer.workers import ray_worker

    secret, told = "marker-0123456789-secret", []

    def fails(*_):
        raise RuntimeError(f"cannot log in with {secret}")

    monkeypatch.setattr(ray_worker, "die_with_parent", lambda: None)
    monkeypatch.setattr(ray_worker, "run_task", fails)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "n"))
    monkeypatch.setattr(tune, "report", told.append)
    with pytest.raises(Told) as raised:
        ray_worker.trial({"backend": "local", "secrets": marks([secret])})
    (report,) = told
    for failure in (report[ray_worker.FAILURE], raised.value.failure):
        assert secret not in str(failure) and "cannot log in with [hidden]" in str(failure)


def test_a_second_driver_of_a_study_is_refused(tmp_path, untrained, capsys):
    command = ["--quick", "--results-dir", str(tmp_path), "--study", "s", "--wandb", "off"]
    with Lock(tmp_path / "s" / ".lock", "{who}"):
        assert step2_rate.main(command) == exit_codes.USAGE
    assert "another driver is running this study (process " in capsys.readouterr().err
    assert step2_rate.main(command) == exit_codes.INTERRUPTED


def test_the_report_goes_to_the_mirrors_of_the_study(tmp_path, monkeypatch):
    sent = []
    p = planned(tmp_path, "--tensorboard", "--wandb", "off")
    (p.folder / "report").mkdir(parents=True)
    (p.folder / "report" / "curves.png").write_bytes(b"")
    monkeypatch.setattr("analysis.report.report", lambda *_, **__: None)
    monkeypatch.setattr("analysis.page.command.write", lambda folder: folder)
    monkeypatch.setattr("studies.result.reported", lambda folder: ({"arms": folder}, {"said": []}))
    monkeypatch.setattr("trainer.mirrors.mirror.show_report", lambda report, *_: sent.append(report))
    jobs = SimpleNamespace(left=0, failed=0, running={}, budget_reached=None)
    console = SimpleNamespace(print=lambda *_, **__: None)
    assert cli._conclude(p, SimpleNamespace(full=False), console, True, jobs) == exit_codes.OK
    (report,) = sent
    assert report.figures == [p.folder / "report" / "curves.png"] and report.tables == {"arms": p.folder}


def test_what_mirrors_are_told_has_no_verdict_before_the_planned_seeds_have_ended(tmp_path):
    from page_studies import half

    from studies.result import reported

    study = half(tmp_path / "demo")
    tables, said = reported(study.folder)
    assert said["verdict"] == {"coding rate, stopgrad": "no verdict yet: +13.0 [+10.5, +15.5]"}
    assert said["gate"] == {"stopgrad λ=0.1 (best)": "3 of 3 passed", "stopgrad λ=0": "0 of 3 passed"}
    assert any("INCOMPLETE" in sentence for sentence in said["said"]) and len(tables["arms"]) == 2
    for run_id, value in (("s0-lambda0-4", 51.0), ("s1-best-4", 65.0)):
        study.run(run_id, value)
    assert reported(study.folder)[1]["verdict"]["coding rate, stopgrad"].startswith("better: +13.2 [")
