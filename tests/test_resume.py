"""A study that is continued, or was to be: with which settings, what is left, and what is said of it."""

import json
from types import SimpleNamespace

import pytest
from engine import make, plan, play, seen_of
from rich.console import Console
from test_analysis import Builder

from studies import step2_rate
from studies.command import cli, exit_codes, options, planning, search_options
from studies.engine import warm_start
from studies.engine.decisions import Decisions
from studies.engine.folder import _which, agree
from studies.engine.job import Seen
from studies.engine.plan_lines import plan_lines
from studies.running import driver
from trainer import presets
from trainer.errors import RecordError, UsageError
from trainer.record import identity

pytestmark = pytest.mark.usefixtures("few_steps")


def planned(results, *words):
    o = options.parser(step2_rate.STUDY).parse_args(["--results-dir", str(results), *words])
    return planning.make_plan(o, step2_rate.STUDY)


def begun(results, *words):
    """A study whose first trial was suggested."""
    p = planned(results, *words)
    p.folder.mkdir(parents=True)
    agree(p)
    jobs = make(p)
    jobs.next()
    jobs.decisions.close()
    return p


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--results-dir="], "--results-dir '': give a folder"),
        (["--study="], "study name '': use up to 100 letters"),
        (["--num-trials", "100000000"], "--num-trials 100000000: must be at most 10000"),
        (["--seeds="], "--seeds '': give a number of seeds"),
    ],
)
def test_a_plan_that_nobody_meant_is_not_made(tmp_path, words, said):
    """Here nothing would be started, were it made."""
    with pytest.raises(UsageError, match=said):
        planned(tmp_path, *words) if words != ["--results-dir="] else planned("", *words)


# --- which study it is


LINE = {"schema_version": 1, "event": "resume", "arm_id": "a", "seed": 0, "metrics": {}}


def recorded_by(folder, commit, name="r", **more):
    """A run that this commit recorded."""
    (folder / "runs" / name).mkdir(parents=True)
    (folder / "runs" / name / "records.jsonl").write_text(
        json.dumps(LINE | {"run_id": name, "provenance": {"commit": commit} | more}) + "\n"
    )


@pytest.mark.parametrize("known", [True, False])
def test_runs_of_another_commit_are_refused_unless_allowed(tmp_path, monkeypatch, known):
    monkeypatch.setattr(identity, "provenance", lambda: {"commit": "b" * 40 if known else None, "code": "c" * 16})
    p = begun(tmp_path, "--study", "one")
    recorded_by(p.folder, "b" * 40)
    recorded_by(p.folder, None, "without")  # from a folder that git does not know
    recorded_by(p.folder, "a" * 40, ".half.tmp")  # a copy that a kill left half made
    agree(planned(tmp_path, "--study", "one", "--resume"))
    recorded_by(p.folder, "a" * 40, "other")
    words = "recorded by commit aaaaaaaaaa, this code is bbbbbbbbbb"
    later = ("--study", "two", "--warm-start", str(p.folder))
    if not known:  # nothing to compare with
        agree(planned(tmp_path, "--study", "one", "--resume"))
        return warm_start.check(planned(tmp_path, *later), step2_rate.STUDY)
    with pytest.raises(RecordError, match=f"{p.folder} was {words}: .* --across-commits if you know"):
        agree(planned(tmp_path, "--study", "one", "--resume"))
    with pytest.raises(UsageError, match=f"--warm-start {p.folder}: {words}; give --across-commits if you know"):
        warm_start.check(planned(tmp_path, *later), step2_rate.STUDY)
    agree(planned(tmp_path, "--study", "one", "--resume", "--across-commits"))
    warm_start.check(planned(tmp_path, *later, "--across-commits"), step2_rate.STUDY)


def test_runs_that_were_measured_otherwise_are_neither_continued_nor_started_from(tmp_path):
    """The same arms by their ids: what is measured changes nothing that is learnt."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: digits\n")
    p = begun(tmp_path, "--study", "one", "--preset", str(mine))
    config = presets.load("digits", settings={"eval.probe_epochs": [1]}).model_dump(mode="json")
    recorded_by(p.folder, None)
    with (p.folder / "runs" / "r" / "records.jsonl").open("a") as file:
        file.write(json.dumps(LINE | {"run_id": "r", "event": "eval", "config": config}) + "\n")
    resumed = planned(tmp_path, "--study", "one", "--preset", str(mine), "--resume")
    agree(resumed)
    later = ("--study", "two", "--preset", str(mine), "--warm-start", str(p.folder), "--across-commits")
    warm_start.check(planned(tmp_path, *later), step2_rate.STUDY)
    mine.write_text("extends: digits\neval: {probe_bn: train}\n")
    words = "measured with eval.probe_bn = 'eval', not 'train'"
    with pytest.raises(RecordError, match=f"{p.folder} was {words}: .* choose another --study name"):
        agree(resumed)
    with pytest.raises(UsageError, match=f"--warm-start {p.folder}: {words}, so its values are not comparable"):
        warm_start.check(planned(tmp_path, *later), step2_rate.STUDY)


def test_runtime_settings_may_change_and_others_may_not(tmp_path):
    begun(tmp_path, "runtime.threads=1", "optim.lr=0.001")
    agree(planned(tmp_path, "--resume", "runtime.threads=2", "optim.lr=0.001"))
    with pytest.raises(UsageError, match="this study has optim.lr = 0.001, not 0.002; continue"):
        agree(planned(tmp_path, "--resume", "optim.lr=0.002"))


def test_another_preset_is_told_by_the_settings_that_differ_and_not_by_a_hash(tmp_path):
    p = begun(tmp_path, "--study", "one")
    other = tmp_path / "mine.yaml"
    other.write_text("extends: digits\noptim: {lr: 0.001, weight_decay: 0.5}\n")
    with pytest.raises(UsageError, match="this study has preset 'digits', not .*mine.yaml.*, so optim.lr = 0.002"):
        agree(planned(tmp_path, "--study", "one", "--resume", "--preset", str(other)))
    before = json.loads((p.folder / "study.json").read_text())
    (p.folder / "study.json").write_text(json.dumps(before | {"base_arm": "0" * 10}))
    before["base"]["optim"]["lr"] = 0.005  # the preset of that name had another rate
    (p.folder / "study.json").write_text(json.dumps(before | {"base_arm": "0" * 10}))
    with pytest.raises(UsageError, match="this study has optim.lr = 0.005, not 0.002; continue"):
        agree(planned(tmp_path, "--study", "one", "--resume"))


def test_a_plan_that_would_be_refused_is_not_printed(tmp_path, capsys):
    """--dry-run says what would run: of a study on record that it does not fit, nothing."""
    p = begun(tmp_path, "--seeds", "0,1,2")
    before = {path.name: path.read_bytes() for path in p.folder.iterdir()}
    for words, code in ((["--seeds", "0,1,2,3"], 2), (["--seeds", "0,1,2"], 0), (["--num-trials", "3"], 2), ([], 0)):
        capsys.readouterr()
        assert step2_rate.main(["--results-dir", str(tmp_path), "--resume", "--dry-run", *words]) == code, words
        printed = capsys.readouterr()
        assert bool(printed.out) == (code == 0) and ("error: " in printed.err) == (code == 2)
    assert {path.name: path.read_bytes() for path in p.folder.iterdir()} == before


def test_arms_that_differ_are_named_and_not_all_of_them_printed():
    """A study with two arms more said 8,000 characters on one line."""
    two = [{"key": "a", "overrides": {"x": 1}}, {"key": "b", "overrides": {"x": 2}}]
    assert "{}: {!r}, not {!r}".format(*_which("arms", two, two + [{"key": one} for one in "cdef"])) == (
        "arms: 2, not 6 with c, d and 2 more"
    )
    assert "{}: {!r}, not {!r}".format(*_which("arms", two, [two[0], {"key": "b", "overrides": {"x": 3}}])) == (
        "arms.b.overrides.x: 2, not 3"
    )
    assert (
        "{}: {!r}, not {!r}".format(*_which("arms", two, two[::-1]))
        == "the order of its arms: ['a', 'b'], not ['b', 'a']"
    )


def test_a_study_that_was_not_deterministic_does_not_become_so_in_silence(tmp_path):
    assert begun(tmp_path).begun
    later = planned(tmp_path, "--resume", "--deterministic")
    assert later.search.lag == search_options.LAG and any("deterministic" in line for line in plan_lines(later))
    with pytest.raises(UsageError, match="begun without --deterministic; continue it without it"):
        agree(later)


def test_a_deterministic_study_keeps_its_lag(tmp_path):
    begun(tmp_path, "--deterministic", "--lag", "6")
    later = planned(tmp_path, "--resume", "--deterministic")
    agree(later)
    assert later.search.lag == 6


def test_a_first_command_that_never_reached_ray_begins_nothing(tmp_path):
    first = planned(tmp_path, "--address", "127.0.0.1:1")
    with pytest.raises(UsageError, match="no Ray cluster answers there"):
        driver.run_study(first, step2_rate.STUDY, Console(quiet=True), address="127.0.0.1:1", dashboard=False)
    assert [line["event"] for line in Decisions(first.folder).events] == ["begin", "session"] and not first.begun
    corrected = planned(tmp_path, "--seeds", "2", "--num-trials", "6")  # without --resume, and other settings
    cli._existing(corrected, SimpleNamespace(resume=False))
    agree(corrected)
    assert json.loads((first.folder / "study.json").read_text())["num_trials"] == 6


DECIDED = [
    {"event": "warm"},
    {"event": "suggest", "trial": 0},
    {"event": "start", "name": "r", "trial": None},
    {"event": "finish", "trial": None, "state": "failed"},
    {"event": "compare", "arm_id": "a", "role": "grid"},
    {"event": "select", "teacher": "ema"},
]


@pytest.mark.parametrize("line", DECIDED, ids=[line["event"] for line in DECIDED])
def test_whatever_was_decided_begins_a_study_and_a_study_without_its_settings_is_nobodys(tmp_path, line):
    (tmp_path / "study.json").write_text("{}")
    decisions = Decisions(tmp_path)
    for passing in ("begin", "capacity", "tick", "session"):
        decisions.append(passing)
    assert not plan(tmp_path).begun
    decisions.append(**line)
    assert plan(tmp_path).begun
    (tmp_path / "study.json").unlink()
    with pytest.raises(
        UsageError, match="whose study.json is missing.*restore .*study.json from a copy, or choose another --study"
    ):
        agree(plan(tmp_path))
    assert not (tmp_path / "study.json").exists()


@pytest.mark.parametrize("left", ["nothing", "begin"])
def test_results_that_no_decision_knows_are_no_new_studys(tmp_path, left):
    """As a copy that was interrupted leaves them: what is declared now would count as declared before them."""
    runs = Builder(tmp_path / "s")
    runs.run("a-s1", 60.0, epochs=2, reason=None)  # begun, as a kill right after the start leaves it
    (runs.folder / "decisions.jsonl").unlink()
    if left == "begin":
        Decisions(runs.folder).append("begin")
    assert not plan(runs.folder).begun
    runs.run("a-s2", 60.0)
    with pytest.raises(UsageError, match="run a-s2 has ended, and .* does not know of it.*restore .*decisions.jsonl"):
        agree(plan(runs.folder))


# --- what is left


def test_a_failed_run_of_an_arm_that_is_no_longer_compared_does_not_count(tmp_path):
    """The chosen arm's run fails; a longer search chooses another arm, and the failed run is never tried again."""
    first = make(plan(tmp_path, num_trials=6, retries=0, top_k=1))
    lost = fail_one(first, lambda job: job.trial is None and "stopgrad" in job.label and "λ=0 " not in job.label)
    assert first.left == 0 and first.failed == 1
    again = make(plan(tmp_path, num_trials=6, retries=0, top_k=1))
    assert again.left == 1 and again.failed == 1 and again.next().name == lost  # still compared: tried again

    def better(job, epoch):
        score = seen_of(job, epoch).score + (50 if job.trial is not None and job.trial >= 6 else 0)
        return Seen(epoch, score, epoch, rank=10.0, objectives={"linacc": score})

    grown = make(plan(tmp_path, num_trials=12, retries=0, top_k=1))
    play(grown, seen=better)
    assert grown.left == 0 and grown.states.get(lost) is None and grown.failed == 0


@pytest.mark.parametrize("chosen", [lambda job: job.trial == 3, lambda job: job.baselines], ids=["trial", "control"])
def test_a_failed_trial_and_a_failed_control_count(tmp_path, chosen):
    jobs = make(plan(tmp_path, retries=0))
    fail_one(jobs, chosen)
    assert jobs.left == 0 and jobs.failed == 1


def fail_one(jobs, chosen):
    """Play a study in which the first job that ``chosen`` accepts fails; returns its name."""
    lost = None
    while (job := jobs.next()) is not None:
        if lost is None and chosen(job):
            lost = job.name
            assert not jobs.fail(job.name, "failed", 0, "boom")
            continue
        for epoch in range(1, jobs.plan.epochs + 1):
            if jobs.report(job.name, seen_of(job, epoch)):
                break
        jobs.end(job.name, seen_of(job, epoch))
    return lost


@pytest.mark.parametrize(
    ("budget", "left", "running", "code", "words"),
    [
        (
            "--budget-hours 1 is spent (1.00 h)",
            0,
            2,
            exit_codes.BUDGET,
            "is spent (1.00 h): 0 runs were not started and 2 were interrupted. Raise it",
        ),
        (
            "--budget-hours 1 is spent (1.00 h)",
            3,
            0,
            exit_codes.BUDGET,
            "is spent (1.00 h): 3 runs were not started. Raise it",
        ),
        (None, 3, 2, exit_codes.INTERRUPTED, "interrupted; everything so far is on record"),
    ],
)
def test_what_was_interrupted_under_a_spent_budget_is_counted(
    tmp_path, monkeypatch, capsys, budget, left, running, code, words
):
    jobs = SimpleNamespace(left=left, failed=0, running=dict.fromkeys(range(running)), budget_reached=budget)
    monkeypatch.setattr("studies.running.driver.run_study", lambda *_, **__: (False, jobs))
    monkeypatch.setattr("analysis.report.report", lambda *_, **__: None)
    monkeypatch.setattr("analysis.page.command.write", lambda folder: folder)
    options = SimpleNamespace(address=None, dashboard=False, resume=True, full=False, live=False)
    assert cli._run(planned(tmp_path), step2_rate.STUDY, options) == code
    assert words in capsys.readouterr().out


# --- a grid that an earlier study has begun


@pytest.fixture
def half_a_grid(tmp_path):
    """An ended study of the first 24 of the grid's 216 points."""
    old = begun(tmp_path, "--sampler", "grid", "--study", "old")
    play(make(old))
    return old.folder


def test_more_trials_than_an_earlier_study_left_of_the_grid_are_refused(tmp_path, half_a_grid, capsys):
    command = [
        "--results-dir",
        str(tmp_path),
        "--study",
        "new",
        "--sampler",
        "grid",
        "--warm-start",
        str(half_a_grid),
        "--dry-run",
    ]
    assert step2_rate.main([*command, "--num-trials", "193"]) == 2
    error = capsys.readouterr().err
    assert (
        "--num-trials 193: the grid has 216 points, of which the --warm-start studies tried 24; ask for at most 192"
        in error
    )
    assert error.count("\n") == 1 and not (tmp_path / "new").exists()
    assert step2_rate.main([*command, "--num-trials", "192"]) == 0


def test_a_continued_study_counts_what_it_took_over(tmp_path, half_a_grid, capsys):
    command = ["--results-dir", str(tmp_path), "--study", "new", "--sampler", "grid", "--warm-start", str(half_a_grid)]
    p = planned(*command[1:])
    p.folder.mkdir()
    agree(p)
    decisions = Decisions(p.folder)
    warm_start.absorb(p, decisions)
    decisions.close()
    make(p).next()
    assert step2_rate.main([*command, "--dry-run", "--resume", "--num-trials", "193"]) == 2
    assert "ask for at most 192" in capsys.readouterr().err
    assert step2_rate.main([*command, "--dry-run", "--resume"]) == 0


def test_what_lies_beyond_the_grid_is_called_random(tmp_path, half_a_grid):
    """A study begun before its number was checked goes on."""
    p = planned(
        tmp_path, "--study", "new", "--sampler", "grid", "--num-trials", "194", "--warm-start", str(half_a_grid)
    )
    p.folder.mkdir()
    decisions = Decisions(p.folder)
    warm_start.absorb(p, decisions)
    decisions.close()
    jobs = make(p)
    while not jobs.search.all_suggested:
        jobs.search.next()
    assert [line["source"] for line in jobs.decisions.of("suggest")] == ["grid"] * 192 + ["random"] * 2
