"""What a study says while it runs: on a terminal, on a pipe, in its log, and after a kill."""

import io
import re
import threading

import pytest
from engine import make, plan, score_of, seen_of
from rich.console import Console

from studies.command.console import NAME, StudyConsole, masked, secrets
from studies.command.live import Live
from studies.command.progress import Shown
from studies.engine.remaining import Remaining
from trainer.record.run import write_atomically


def epoch_of(jobs, job, epoch):
    """The report of an epoch, as the trial process sends it, also put on the run's record."""
    run = jobs.plan.folder / "runs" / jobs.run_id(job) / "records.jsonl"
    lines = "".join(f'{{"event":"epoch","epoch":{k}}}\n' for k in range(1, epoch + 1))
    write_atomically(run, lines.encode())
    return {"epoch": epoch, "score": score_of(job, epoch), "probe_epoch": epoch}


class Played:
    """Drives jobs through a display, one epoch of each of two in turn."""

    def __init__(self, folder, console, **changes):
        self.jobs = make(plan(folder, **changes))
        self.shown = Shown(console)
        self.shown.follow(self.jobs)
        self.at = {}
        self.seen = []

    def epoch(self):
        jobs = self.jobs
        while len(self.at) < 2 and (job := jobs.next()) is not None:
            self.at[job.name] = job, 0
            self.shown("start", job.name, {})
        for name, (job, epoch) in list(self.at.items()):
            epoch += 1
            seen = seen_of(job, epoch)
            stop = jobs.report(name, seen)
            self.shown("epoch", name, epoch_of(jobs, job, epoch))
            self.at[name] = job, epoch
            self.note()
            if stop or epoch == jobs.plan.epochs:
                state = jobs.end(name, seen)
                del self.at[name]
                self.shown(state, name, {"epoch": epoch, "score": seen.score})
                self.note()

    def note(self):
        r = self.shown._live.remaining
        self.seen.append((r.done, r.left))


def terminal(width=80, height=40):
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)


def drawn(live, width=80, height=40):
    console = terminal(width, height)
    console.print(live)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_count_never_passes_its_total_and_ends_at_it(tmp_path):
    played = Played(tmp_path, Console(quiet=True))
    while played.at or not played.seen or played.jobs.left:
        played.epoch()
    done = [done for done, _ in played.seen]
    assert done == sorted(done) and all(left >= 0 for _, left in played.seen)
    assert played.seen[-1][1] == 0 and played.shown._live.epochs() == f"{done[-1]} of {done[-1]} epochs"
    assert done[-1] == sum(line["epoch"] for line in played.jobs.decisions.of("finish"))


@pytest.mark.parametrize("epochs", [3, 25, 70, 140])
def test_a_resumed_study_starts_where_the_killed_one_was(tmp_path, epochs):
    played = Played(tmp_path, Console(quiet=True))
    for _ in range(epochs):
        played.epoch()
    played.jobs.decisions.close()
    before = played.shown._live.remaining.done
    jobs = make(plan(tmp_path))
    assert Remaining(jobs).done == before > 0
    out = io.StringIO()
    Shown(Console(file=out, width=120)).follow(jobs)
    assert re.search(rf"on record: {before} of (about )?\d+ epochs", out.getvalue())


def test_the_expected_rest_is_the_plans_at_the_beginning_and_shrinks_within_a_trial(tmp_path):
    p = plan(tmp_path)
    assert Remaining(make(p)).left == pytest.approx(p.expected_epochs())
    rest = [p.expected_from(epoch) for epoch in range(p.epochs + 1)]
    assert (
        rest[0] == pytest.approx(10 + 20 / 3) and rest[10] == 20 and rest[30] == 0 and all(value >= 0 for value in rest)
    )


def test_a_terminal_shows_what_is_done_who_runs_and_the_best_of_each_group(tmp_path):
    played = Played(tmp_path, Console(quiet=True))
    played.shown.doing("starting Ray on this machine")
    assert any("starting Ray on this machine (0 s)" in line for line in drawn(played.shown._live))
    for _ in range(40):
        played.epoch()
    lines = drawn(played.shown._live)
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert re.search(r"\d+ of about \d+ epochs", text) and "search: " in text and "compared: 0 of 10 runs" in text
    for name, (_, epoch) in played.at.items():
        assert re.search(rf"{name}  epoch +{epoch}/30", text)
    ends = [line for line in played.jobs.decisions.of("finish") if line["trial"] is not None]
    for group in {played.jobs.search.trials[line["trial"]].group for line in ends}:
        leader = played.jobs.search.ranking(group)[0]
        assert f"t{leader.trial:03d}  linacc {leader.value:.1f} at epoch {leader.epoch}" in text


@pytest.mark.parametrize("height", [10, 24, 40])
def test_a_screen_of_many_running_trials_leaves_room(tmp_path, height):
    played = Played(tmp_path, Console(quiet=True), num_trials=60)
    for _ in range(50):
        played.jobs.next()
    lines = drawn(played.shown._live, height=height)
    assert len(lines) <= max(height, 9)
    assert any(re.search(r"and \d+ more", line) for line in lines)


def test_a_pipe_says_what_goes_on_from_the_first_moment_and_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("studies.command.progress.QUIET_SECONDS", -1)
    out = io.StringIO()
    played = Played(tmp_path, Console(file=out, width=120))
    played.shown.doing("starting Ray on this machine")
    assert out.getvalue() == " 0:00  starting Ray on this machine\n"
    for _ in range(32):
        played.epoch()
    text = out.getvalue()
    assert "running   t00" in text and "best      t00" in text and re.search(r"\d+ of about \d+ epochs; search: ", text)
    assert max(text.count(f" {name} ") for name in ("t000", "t001")) > 3


def test_long_lines_wrap_between_words_on_a_narrow_terminal(tmp_path):
    console = terminal()
    played = Played(tmp_path, console)
    played.shown._say(
        "done      t001  linacc 56.4 at epoch 6  ema λ=0.1 cosine warm-up 2 half-life 0.0216 (τ=0.9343) and so on"
    )
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert len(lines) == 2 and all(len(line) <= 80 for line in lines) and lines[1].startswith("       ")
    assert " ".join(" ".join(lines).split()).endswith(
        "ema λ=0.1 cosine warm-up 2 half-life 0.0216 (τ=0.9343) and so on"
    )


def test_a_notice_of_many_runs_is_said_once(tmp_path):
    out = io.StringIO()
    played = Played(tmp_path, Console(file=out, width=120))
    played.epoch()
    for name in played.at:
        played.shown("epoch", name, {"epoch": 1, "score": None, "notice": "W&B did not answer"})
    assert out.getvalue().count("W&B did not answer") == 1


def test_nothing_is_shown_before_there_are_jobs():
    assert re.search(r"starting \(0 s\)", "\n".join(drawn(Live())))


# --- study.log


def test_the_log_holds_what_was_printed_with_times_and_without_secrets(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENG")
    console = StudyConsole()
    console.print("before the folder is known")
    console.keep(tmp_path)
    console.print("a failure: wJalrXUtnFEMIK7MDENG in postgres://user:hunter2@host/db")
    with console.with_errors():
        import sys

        print("warning: said on stderr", file=sys.stderr)
    console.log.write("error: only here\n")
    console.log.close()
    lines = (tmp_path / NAME).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    assert [line[21:] for line in lines] == [
        "before the folder is known",
        "a failure: [AWS_SECRET_ACCESS_KEY] in postgres://[login]@host/db",
        "warning: said on stderr",
        "error: only here",
    ]
    assert "said on stderr" in capsys.readouterr().err


def test_a_second_session_writes_behind_the_first(tmp_path):
    for text in ("one", "two"):
        console = StudyConsole()
        console.keep(tmp_path)
        console.print(text)
        console.log.close()
    assert [line[21:] for line in (tmp_path / NAME).read_text().splitlines()] == ["one", "two"]


def test_a_log_that_cannot_be_written_ends_itself_and_nothing_else(tmp_path, capsys):
    (tmp_path / NAME).mkdir()
    console = StudyConsole()
    console.keep(tmp_path)
    console.print("still printed")
    assert "still printed" in capsys.readouterr().out


def test_what_is_not_secret_is_left_alone():
    text = "https://example.org/a@b wrote to me@example.org"
    assert masked(text, secrets({"PATH": "https://example.org", "API_KEY": "short"})) == text


def test_a_command_on_a_narrow_terminal_can_be_pasted():
    import shlex
    import subprocess

    from studies.command.console import print_command

    command = shlex.join(
        [
            "python",
            "studies/step2_grid.py",
            "--results-dir",
            "/a/long/path/to/results",
            "--study",
            "b",
            "data.sizes=[1, 2]",
            "--resume",
        ]
    )
    console = terminal(60)
    print_command(console, "Continue with:", command)
    _, *lines = console.file.getvalue().splitlines()
    assert len(lines) > 1 and all(len(line) <= 60 for line in lines)
    pasted = "\n".join(lines).strip()
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {pasted}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words == shlex.split(command)
    pipe = Console(file=io.StringIO(), width=60)
    print_command(pipe, "Continue with:", command)
    assert pipe.file.getvalue() == f"Continue with:\n  {command}\n"


def test_the_part_that_changes_is_not_drawn_while_a_line_is_printed(monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal().file)
    console = StudyConsole()
    console._force_terminal = True
    meanwhile = []

    class Line:
        def __rich_console__(self, where, options):
            if where is console:  # not its log
                other = threading.Thread(target=shown._screen.refresh)
                other.start()
                other.join(0.1)
                meanwhile.append(other.is_alive())
            yield "a line"

    with Shown(console) as shown:
        shown._screen.auto_refresh = False
        console.print(Line())
    assert meanwhile == [True]
