"""What optuna.db shows, read by Optuna and by the dashboard's own application."""

import json
from datetime import datetime, timedelta
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from engine import make, plan, score_of, seen_of
from optuna.trial import TrialState as STATE

from studies.engine.decisions import Decisions
from studies.engine.moments import moments
from studies.running.mirror import Mirror

TOLD = {"complete": STATE.COMPLETE, "pruned": STATE.PRUNED, "diverged": STATE.PRUNED, "collapsed": STATE.PRUNED}


def stored(folder):
    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder / 'optuna.db'}").get_trials()


def record(jobs, job, epoch):
    """What a run's trainer leaves of an epoch."""
    run = jobs.plan.folder / "runs" / jobs.run_id(job)
    run.mkdir(parents=True, exist_ok=True)
    arm, _, seed = run.name.rpartition("-s")
    common = {"schema_version": 1, "run_id": run.name, "arm_id": arm, "seed": int(seed)}
    lines = [
        {"event": "epoch", "epoch": epoch, "split": "train", "metrics": {}},
        {
            "event": "eval",
            "epoch": epoch,
            "probe_epoch": epoch,
            "split": "validation",
            "metrics": {"linacc/z_agg@3": score_of(job, epoch)},
        },
    ]
    if not (run / "records.jsonl").exists():
        lines.insert(
            0,
            {
                "event": "eval",
                "epoch": 0,
                "probe_epoch": 0,
                "split": "validation",
                "metrics": {},
                "config": {"epochs": 30},
            },
        )
    with (run / "records.jsonl").open("a") as file:
        file.writelines(json.dumps(common | line) + "\n" for line in lines)


class Session:
    """A driver that trains one epoch of every running trial in turn, probed at epochs 10, 20 and 30."""

    def __init__(self, folder, **changes):
        self.now = 0.0
        self.jobs = make(plan(folder, num_trials=10, **changes))
        self.jobs.decisions._clock, self.jobs.decisions._zero = (lambda: self.now), 0.0
        self.jobs.decisions.append("begin", at="2026-01-02T03:00:00+00:00")
        self.mirror = Mirror(self.jobs.plan, self.jobs.search.sampling)
        self.mirror.follow(self.jobs.decisions)
        self.at = {}

    def start(self):
        """Start what can start, two at once."""
        jobs = self.jobs
        while len(self.at) < 2 and (job := jobs.next()) is not None:
            if job.trial is None:
                jobs.running.pop(job.name)
                break
            jobs.started(job.name)
            self.at[job.name] = job, 0
        self.mirror.follow(jobs.decisions)

    def step(self):
        """Start what can start, then 10 epochs of each; the later trial ends first."""
        jobs = self.jobs
        self.start()
        for name, (job, epoch) in reversed(list(self.at.items())):
            self.now += 7
            epoch += 10
            record(jobs, job, epoch)
            seen = seen_of(job, epoch)
            stop = jobs.report(name, seen)
            self.mirror.probed(job.trial, epoch, seen.score)
            self.at[name] = job, epoch
            if stop or epoch == 30:
                jobs.end(name, seen)
                del self.at[name]
            self.mirror.follow(jobs.decisions)


@pytest.fixture
def session(tmp_path):
    session = Session(tmp_path)
    for _ in range(7):  # four trials to the end, two to the rung
        session.step()
    session.start()
    return session


def ends(jobs):
    return {line["trial"]: line for line in jobs.decisions.of("finish") if line["trial"] is not None}


def agrees(trials, jobs):
    """Every trial is as the record has it; returns how many ended."""
    finish, suggest = ends(jobs), {line["trial"]: line for line in jobs.decisions.of("suggest")}
    assert [trial.number for trial in trials] == sorted(suggest)
    for trial in trials:
        line = suggest[trial.number]
        assert trial.user_attrs["name"] == f"t{trial.number:03d}" and trial.user_attrs["label"] == line["label"]
        if trial.number in finish:
            end = finish[trial.number]
            assert trial.state == TOLD[end["state"]] and trial.value == end["value"]
            curve = {
                epoch: score_of(jobs.search.trials[trial.number], epoch) for epoch in range(10, end["epoch"] + 1, 10)
            }
            assert trial.intermediate_values == curve
            assert trial.datetime_complete >= trial.datetime_start
        else:
            assert trial.state == STATE.RUNNING and trial.value is None
    return len(finish)


def test_trials_have_the_studys_numbers_states_values_and_whole_curves_while_it_runs(session, tmp_path):
    trials = stored(tmp_path)
    assert agrees(trials, session.jobs) >= 3
    states = {trial.state for trial in trials}
    assert states == {STATE.COMPLETE, STATE.PRUNED, STATE.RUNNING}
    order = [line["trial"] for line in session.jobs.decisions.of("finish")]
    assert order != sorted(order), "the test wants trials that end in another order than they began"


def test_a_running_trial_has_the_points_of_its_curve_so_far(tmp_path):
    session = Session(tmp_path)
    session.step()
    session.step()
    trials = stored(tmp_path)
    assert [trial.state for trial in trials] == [STATE.RUNNING] * 2
    for trial in trials:
        assert trial.intermediate_values == {
            epoch: score_of(session.jobs.search.trials[trial.number], epoch) for epoch in (10, 20)
        }


def test_a_deleted_file_is_written_anew_with_the_same_content_and_the_times_of_the_record(session, tmp_path):
    session.mirror.close()
    (tmp_path / "optuna.db").unlink()
    mirror = Mirror(session.jobs.plan, session.jobs.search.sampling)
    mirror.follow(session.jobs.decisions)
    mirror.close()
    trials = stored(tmp_path)
    agrees(trials, session.jobs)
    began = datetime.fromisoformat("2026-01-02T03:00:00+00:00").astimezone().replace(tzinfo=None)
    events = session.jobs.decisions.events
    for trial in trials:
        start = next(line["t"] for line in events if line["event"] == "start" and line["trial"] == trial.number)
        assert trial.datetime_start == began + timedelta(seconds=start)
        if trial.state.is_finished():
            assert trial.datetime_complete == began + timedelta(seconds=ends(session.jobs)[trial.number]["t"])
    assert any(trial.duration and trial.duration >= timedelta(seconds=7) for trial in trials)


def test_a_second_driver_continues_what_is_there_and_what_is_not_there(session, tmp_path):
    session.mirror.close()
    session.jobs.decisions.close()
    before = {trial.number: trial._trial_id for trial in stored(tmp_path)}
    again = Session(tmp_path)
    for _ in range(30):
        again.step()
    trials = stored(tmp_path)
    assert agrees(trials, again.jobs) == 10
    assert {number: trial._trial_id for number, trial in enumerate(trials) if number in before} == before


def test_a_failed_trial_is_a_failure_until_it_is_tried_again(tmp_path):
    session = Session(tmp_path)
    session.step()
    name = next(iter(session.at))
    for _ in range(3):
        again = session.jobs.fail(name, "failed", 0, "a fault")
        if again:
            session.jobs.next()
    del session.at[name]
    session.mirror.follow(session.jobs.decisions)
    assert [trial.state for trial in stored(tmp_path)].count(STATE.FAIL) == 1
    session.mirror.close()
    session.jobs.decisions.close()
    second = Session(tmp_path)
    for _ in range(30):
        second.step()
    assert STATE.FAIL not in {trial.state for trial in stored(tmp_path)}
    assert agrees(stored(tmp_path), second.jobs) == 10


def test_a_strength_of_zero_is_not_shown_as_the_number_that_stands_for_it(tmp_path):
    jobs = make(plan(tmp_path, num_trials=40, sampler="random"))
    zero = {}
    for _ in range(40):
        job = jobs.next()
        zero[job.trial] = job.overrides["objective.weights.rate"] == 0
    mirror = Mirror(jobs.plan, jobs.search.sampling)
    mirror.follow(jobs.decisions)
    mirror.close()
    assert 0 < sum(zero.values()) < 40
    for trial in stored(tmp_path):
        assert ("lambda_rate" in trial.params) != zero[trial.number]
        assert (
            trial.user_attrs.get("lambda_rate", trial.params.get("lambda_rate"))
            == jobs.decisions.of("suggest")[trial.number]["params"]["lambda_rate"]
        )


def test_a_file_of_the_version_before_which_numbered_by_end_is_replaced(session, tmp_path):
    session.mirror.close()
    (tmp_path / "optuna.db").unlink()
    old = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path / 'optuna.db'}", direction="maximize")
    last = session.jobs.decisions.of("finish")[-1]
    old.add_trial(
        optuna.trial.create_trial(
            value=last["value"] or 1.0, user_attrs={name: last[name] for name in ("trial", "run_id")}
        )
    )
    mirror = Mirror(session.jobs.plan, session.jobs.search.sampling)
    mirror.follow(session.jobs.decisions)
    mirror.close()
    agrees(stored(tmp_path), session.jobs)


def test_two_objectives_are_mirrored_too(tmp_path):
    session = Session(tmp_path, objectives=("linacc", "r2_action"))
    for _ in range(30):
        session.step()
    trials = stored(tmp_path)
    assert len(trials) == 10 and all(len(trial.values) == 2 for trial in trials if trial.state == STATE.COMPLETE)


def test_the_dashboards_own_application_shows_them(session, tmp_path):
    from optuna_dashboard import wsgi

    app = wsgi(f"sqlite:///{tmp_path / 'optuna.db'}")

    def get(path, query=""):
        answer = {}
        environ = {"PATH_INFO": path, "QUERY_STRING": query}
        setup_testing_defaults(environ)
        body = b"".join(app(environ, lambda status, headers, failed=None: answer.update(status=status)))
        assert answer["status"].startswith("200"), (path, answer)
        return json.loads(body)

    (study,) = get("/api/studies")["study_summaries"]
    shown = get(f"/api/studies/{study['study_id']}", "after=0")["trials"]
    for trial, line in zip(shown, session.jobs.decisions.of("suggest"), strict=True):
        attributes = {entry["key"]: entry["value"] for entry in trial["user_attrs"]}
        assert (
            trial["number"] == line["trial"] and json.loads(json.dumps(attributes["name"])).strip('"') == line["name"]
        )
        end = ends(session.jobs).get(line["trial"])
        if end is None:
            assert trial["state"] == "Running"
            continue
        assert trial["state"] in ("Complete", "Pruned") and trial["values"] == [pytest.approx(end["value"])]
        assert [point["step"] for point in trial["intermediate_values"]] == list(range(10, end["epoch"] + 1, 10))
        assert trial["datetime_complete"] > trial["datetime_start"]


def test_sessions_without_a_date_are_set_before_the_next_that_has_one(tmp_path):
    lines = [
        {"event": "begin", "t": 0.0},
        {"event": "tick", "t": 60.0},
        {"event": "begin", "t": 0.0, "at": "2026-01-02T03:00:00+00:00"},
        {"event": "tick", "t": 5.0},
    ]
    began = datetime.fromisoformat("2026-01-02T03:00:00+00:00").astimezone().replace(tzinfo=None)
    found = moments(lines, datetime.now())
    assert [(moment - began).total_seconds() for moment in found] == [-60, 0, 0, 5]
    assert Decisions(tmp_path).events == []
