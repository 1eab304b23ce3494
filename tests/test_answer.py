"""The end of a study on a terminal: short, whole words, any encoding, any reader, one bad folder among good ones."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_analysis import Builder, full
from test_confirmation import top_three
from test_verdict_words import on_disk

from analysis import report
from analysis.__main__ import main as analysis_command
from analysis.page.figures.drawing import Drawing
from analysis.rendering.layout import Sheet, plain, show
from analysis.sentences import answer
from trainer.command.terminal import command_lines

ROOT = Path(__file__).parents[1]


def two_seeds(folder: Path) -> None:
    study = Builder(folder, num_trials=4, confirm=["stopgrad", "ema"])
    study.trial(0, "ema", 0.1, 60.0)
    for teacher in ("stopgrad", "ema"):
        study.arm(f"{teacher}0", "lambda0", teacher, 0.0, [50.0, 51.0])
        study.arm(f"{teacher}1", "best", teacher, 0.1, [60.0, 62.0], f"{teacher}0", 61.0)
    study.arm("sh", "shared", "shared", 0.0, [30.0, 31.0], rank=1.0)
    study.arm("none", "untrained", "stopgrad", 0.0, [55.0, 55.0])


def lost(folder: Path) -> None:
    """One contrast keeps its seeds, of another an arm lost all but one."""
    study = full(folder)
    for seed in (1, 2):
        (study.folder / "runs" / f"e1-best-{seed}" / "records.jsonl").unlink()


STUDIES = {
    "usual": full,
    "lost": lost,
    "candidates": top_three,
    "two seeds, incomplete": two_seeds,
    "grid": lambda folder: on_disk(folder, "step2_grid", 4, np.random.default_rng(0)),
    "rate": lambda folder: on_disk(folder, "step2_rate", 3, np.random.default_rng(0)),
    "empty": Builder,
    "only trials": lambda folder: Builder(folder).trial(0, "ema", 0.1, 60.0),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, make in STUDIES.items():
        made[name] = tmp_path_factory.mktemp("studies") / name.replace(" ", "_")
        make(made[name])
    return made


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(Drawing, "png", lambda *_: b"")


@pytest.fixture
def read_once(monkeypatch):
    """A study is read and its numbers are found once, however often they are printed."""
    for name in ("load", "gather", "sentences", "costs"):
        monkeypatch.setattr(report, name, once(getattr(report, name)))


def once(function):
    made = {}

    def found(study, *more):
        if study not in made:
            made[study] = function(study, *more)
        return made[study]

    return found


def printed(folder: Path, width: int, full: bool = False) -> list[str]:
    file = io.StringIO()
    report.report(folder, Console(width=width, file=file), full)
    return file.getvalue().splitlines()


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in re.split(r"[\s─]+", line) if word}


@pytest.mark.parametrize("name", STUDIES)
def test_a_finished_study_fits_a_terminal(folders, monkeypatch, read_once, name):
    monkeypatch.chdir(folders[name].parent)
    for width in (70, 80, 100, 120):
        lines = printed(folders[name], width)
        assert len(lines) <= answer.LINES and all(len(line.rstrip()) <= width for line in lines), (width, lines)
        first = lines.index("")
        answers = lines[first + 1 :]
        answers = answers[: answers.index("")] if "" in answers else answers
        assert len(answers) <= 1 + answer.ANSWERS + (width < 80)
        assert sum("n<3" in line for line in lines) <= 1
        assert str(folders[name].name) in "".join(lines[-3:]) and "--full" in lines[-1]


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("full", [False, True])
def test_no_word_is_broken_at_any_width(folders, monkeypatch, read_once, name, full):
    monkeypatch.chdir(folders[name].parent)
    known = words(printed(folders[name], 1000, full))
    for width in (70, 80, 99):
        lines = printed(folders[name], width, full)
        at_home = words(lines) - known
        # what is said of the width itself, and of rows that the wider one had room for
        assert not {
            word
            for word in at_home
            if not re.fullmatch(r"\(left|out|at|this|width,|in|the|report:?|\d+|\\|\.\.\.|.*\.\.\.|\S*[,)]", word)
        }, (width, at_home)
        assert sum("n<3" in line for line in lines) <= 1


def test_full_prints_every_sentence_and_the_short_answer_does_not(folders, monkeypatch):
    monkeypatch.chdir(folders["usual"].parent)
    full, short = (" ".join(printed(folders["usual"], 120, whole)) for whole in (True, False))
    said = (folders["usual"] / "report" / "verdict.txt").read_text().splitlines()
    flat = " ".join(full.split())
    assert len(said) > 5 and all(" ".join(sentence.split()) in flat for sentence in said)
    assert sum(sentence[:60] in " ".join(short.split()) for sentence in said) <= 1


@pytest.mark.parametrize("width", [62, 66, 70])
def test_columns_of_words_wrap_between_words_where_there_is_nothing_to_drop(width):
    """As narrow as "stopgrad" is long, and no narrower."""
    row = ["stopgrad constant", "repairs collapse", "unresolved contrast", "64.0 ± 5.0", "+13.0 [+8.6, +17.4]"]
    file = io.StringIO()
    show(
        Sheet("", ["arm", "question", "verdict", "linacc", "difference"], [row], text=3),
        Console(width=width, file=file),
    )
    shown = words(file.getvalue().splitlines())
    assert {word for cell in row[:3] for word in cell.split()} <= shown, file.getvalue()


def test_every_primary_contrast_has_its_line(folders, monkeypatch):
    monkeypatch.chdir(folders["grid"].parent)
    text = "\n".join(printed(folders["grid"], 80))
    for teacher in ("stopgrad", "ema"):
        for schedule in ("cosine", "constant"):
            assert re.search(rf"coding rate, {teacher} {schedule} +(better|worse|not resolved, needs \d)", text)
            assert f"\n{teacher} λ=0.03 {schedule}" in text, (
                "the arms of the answers come first where not all have room"
            )
    assert "10 more arms in the report" in text
    bare = "\n".join(printed(folders["lost"], 80))
    assert re.search(r"coding rate, ema +no verdict, n=1 ", bare) and re.search(r"coding rate, stopgrad +better", bare)
    usual = "\n".join(printed(folders["usual"], 80))
    # ema - lambda 0: 16, 15, 8; unadjusted it excludes 0, at the adjusted level it does not, and that decides
    assert re.search(r"coding rate, stopgrad +better +\+13\.0 \[\+8\.6, \+17\.4\]", usual)
    assert re.search(r"coding rate, ema +not resolved, needs 15\.6 +\+13\.0 \[-2\.6, \+28\.6\]", usual)
    assert re.search(r"ema λ=0\.1 \(best\) .*\+13\.0 \[\+2\.2, \+23\.8\] +not resolved", usual)


def test_what_is_missing_stands_in_the_answer(folders, monkeypatch):
    monkeypatch.chdir(folders["two seeds, incomplete"].parent)
    lines = printed(folders["two seeds, incomplete"], 80)
    assert any("INCOMPLETE: 3 of 4 trials have not ended" in line for line in lines)
    assert any("No verdict: n<3 (2 seeds)" in line for line in lines) and any(
        re.search(r"coding rate, ema +\+10\.5", line) for line in lines
    )


@pytest.mark.parametrize(
    "command", ["python -m analysis a/b --full", "python -m analysis '/with a space/and more' x.y=3 " + "word " * 30]
)
@pytest.mark.parametrize("width", [20, 40, 80])
def test_commands_break_between_words_and_can_be_copied(command, width):
    lines = command_lines(command, width)
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(command)
    longest = max(len(shlex.quote(word)) for word in shlex.split(command))
    assert all(len(line) <= max(width, longest + 6) for line in lines)


def test_letters_that_the_encoding_lacks(folders):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    console = Console(width=80, file=file)
    report.report(folders["usual"], console)
    report.report(folders["usual"], console, full=True)
    text = file.buffer.getvalue().decode("ascii")
    assert (
        "stopgrad lambda=0.1 (best)" in text
        and "64.0 +- 5.0" in text
        and "?" not in text.replace("needed?", "").replace("rate?", "")
    )
    assert plain("5 ± 1", Console(file=io.StringIO())) == "5 ± 1"


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_that_takes_nothing_still_gives_its_answer(folders, monkeypatch, full):
    usual = printed(folders["usual"], 100, full)

    def refused(path, content):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(report, "write_atomically", refused)
    lines = printed(folders["usual"], 100, full)
    said = next(
        number for number, line in enumerate(lines) if line.startswith("Report: not written (Permission denied")
    )
    assert lines[:said] == usual[:said] and "report STUDY --out FILE.html" in " ".join(lines[said:])
    monkeypatch.setattr(report, "write_atomically", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        printed(folders["usual"], 100, full)


@pytest.mark.parametrize("command", ["report", "forgetting"])
def test_a_folder_that_takes_nothing_is_said_with_the_option_for_another(folders, monkeypatch, capsys, command):
    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system", "report/x")

    monkeypatch.setattr("trainer.record.run.write_atomically", refused)
    monkeypatch.setattr("analysis.figures.forgetting.render", refused)
    assert analysis_command([command, str(folders["usual"])]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: report/x: Read-only file system; name a ") and "as --out " in said


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "analysis", *arguments], cwd=ROOT, capture_output=True, text=True, **settings
    )


def test_one_bad_folder_does_not_hide_the_good_ones(folders, tmp_path):
    (tmp_path / "bad").mkdir()
    done = run(str(tmp_path / "bad"), str(folders["only trials"]), env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2 and "Report: " in done.stdout and (folders["only trials"] / "report/table.md").is_file()
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "bad" in line and "Traceback" not in done.stderr


def started(*arguments: str, **settings) -> subprocess.Popen:
    # a shell's background job ignores SIGINT, and its children inherit that
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    return subprocess.Popen(
        [sys.executable, "-m", "analysis", *arguments], cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=restore, **settings
    )


def test_a_reader_that_goes_away(folders):
    process = started(str(folders["only trials"]), stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=120) == 141


def test_ctrl_c_is_one_line(tmp_path):
    """While it reads: the decisions are a pipe that nobody ends."""
    study = Builder(tmp_path / "demo")
    (study.folder / "decisions.jsonl").unlink(missing_ok=True)
    os.mkfifo(study.folder / "decisions.jsonl")
    process = started(str(study.folder), stdout=subprocess.DEVNULL)
    with open(study.folder / "decisions.jsonl", "w"):  # returns when the reader has opened it
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.wait(timeout=60) == 130 and said.strip().count("\n") == 0 and said.strip().startswith("interrupted")


def test_a_folder_that_begins_with_a_dash_is_no_option():
    assert answer.where("r", Path("-x"), 80, "")[1] == "python -m analysis ./-x --full"
