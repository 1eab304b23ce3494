"""Manners of every command: --version, examples and exit codes in --help, lists, pipes, repeated options; all of it
fast."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies import step2_rate
from studies.__main__ import main as studies_main
from studies.command import exit_codes
from trainer import presets
from trainer.__main__ import main as trainer_main
from trainer.command.cli import Parser, guarded
from trainer.presets import listing

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "trainer": ["-m", "trainer"],
    "evaluate": ["-m", "trainer.evaluate"],
    "studies": ["-m", "studies"],
    "list": ["-m", "studies", "list"],
    "doctor": ["-m", "studies", "doctor"],
    "replay": ["-m", "studies", "replay"],
    "power": ["-m", "studies", "power"],
    "analysis": ["-m", "analysis"],
    "rate": ["studies/step2_rate.py"],
    "grid": ["studies/step2_grid.py"],
}
HEAVY = {"torch", "ray", "optuna", "scipy", "matplotlib"}


def python(*words, **settings):
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, **settings)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_the_command_itself_accepts(name):
    done = python("-X", "importtime", *COMMANDS[name], "--help")
    assert done.returncode == 0 and "examples:\n" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & HEAVY
    if name in ("trainer", "evaluate", "analysis", "rate", "grid"):
        assert "exit codes:\n  0 " in done.stdout
    examples = re.search(r"examples:\n((?:  .*\n?)+)", done.stdout).group(1)
    assert examples.count("python ") == len(examples.splitlines()) >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_version_names_the_commit_and_the_libraries(name):
    done = python("-X", "importtime", *COMMANDS[name], "--version")
    assert done.returncode == 0
    assert re.fullmatch(
        r"seq-jepa-studies \S+( \(not installed\))?, commit \w+( \(modified\))?, Python 3\.\d+\.\d+, torch .+, ray .+,"
        r" optuna .+\n",
        done.stdout,
    )
    assert not {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()} & HEAVY


def test_the_commands_of_this_file_answer_within_a_second_when_the_machine_is_free():
    took = []
    for _ in range(3):
        began = time.process_time(), os.times()
        python("-m", "trainer", "--version")
        now = os.times()
        took.append(now.children_user + now.children_system - began[1].children_user - began[1].children_system)
    assert min(took) < 1.0


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_every_preset_is_listed_with_its_epochs_and_fits_the_screen(columns):
    lines = listing.lines(columns)
    assert all(len(line) <= columns for line in "\n".join(lines).splitlines())
    listed = {line.split()[0]: line.split()[1] for line in "\n".join(lines).splitlines() if len(line.split()) > 1}
    for name in presets.names():
        assert listed[name] == str(presets.load(name).epochs)


def test_lists_are_printed_by_their_commands(capsys, tmp_path):
    assert trainer_main(["--list-presets"]) == 0 and "cifar100_aug_30" in capsys.readouterr().out
    assert studies_main(["list", "--results-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert (
        "python studies/step2_rate.py" in told
        and "python studies/step2_grid.py" in told
        and "study_list" not in told
        and "no study yet" in told
    )
    assert studies_main(["list", "--results-dir", str(tmp_path / "absent")]) == 2


def test_studies_in_a_folder_are_listed_with_their_state(tmp_path, capsys):
    from engine import make, plan, play

    from studies.engine.folder import agree

    for name, until in (("ended", None), ("cut", 20)):
        (tmp_path / name).mkdir()
        jobs = make(plan(tmp_path / name, study=name))
        agree(jobs.plan)
        play(jobs, until=until)
        jobs.decisions.append("session", seconds=1.0, cores=1, finished=until is None, budget=None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{}")
    assert studies_main(["list", "--results-dir", str(tmp_path)]) == 0
    lines = {
        line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.split()
    }
    assert (
        lines["ended"].endswith("; finished")
        and "not finished: continue with --resume" in lines["cut"]
        and "cannot be read" in lines["broken"]
    )


REPLAY = ["studies/replay/recorded/rotation.jsonl.gz", "--orders", "2", "--resamples", "10", "--scheduler", "full"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trainer", ["--help"]), ("trainer", ["--list-presets"]), ("trainer", ["--dry-run"]), ("studies", ["--help"]),
        ("list", []),
        ("rate", ["--help"]), ("rate", ["--dry-run"]), ("replay", REPLAY),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[-1:]),
)  # fmt: skip
def test_a_reader_that_goes_away_is_no_error(name, words):
    reading, writing = os.pipe()
    os.close(reading)  # as with | head, but nobody reads even the first line
    command = [sys.executable, *COMMANDS[name], *words]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.stderr == ""
    # argparse itself takes no notice when nobody reads its help
    assert done.returncode == exit_codes.NO_READER or (words == ["--help"] and done.returncode == 0)


@pytest.mark.parametrize(("closed", "words"), [(">&-", ["--dry-run"]), ("2>&-", ["--nope"])])
def test_an_output_that_is_closed_is_no_error(closed, words):
    """As a service may start it; Python then has none at all."""
    line = f"{shlex.join([sys.executable, *COMMANDS['rate'], *words])} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0 if closed == ">&-" else 2, "", "")


def test_every_exit_code_has_a_meaning_which_the_readme_gives_too():
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes == exit_codes.MEANING.keys()
    readme = (ROOT / "studies" / "README.md").read_text(encoding="utf-8")
    for code in codes:
        assert re.search(rf"^\| {code} \|", readme, re.M), code


@pytest.mark.parametrize(
    ("main", "words", "shown"),
    [
        (trainer_main, ["--seed", "1", "--seed", "2", "--dry-run"], "--seed is given twice, as 1 and as 2"),
        (
            trainer_main,
            ["optim.lr=0.1", "--dry-run", "--optim.lr", "0.2"],
            "override optim.lr: given twice, as 0.1 and as 0.2",
        ),
        (step2_rate.main, ["--epochs", "3", "--dry-run", "--epochs=4"], "--epochs is given twice, as 3 and as 4"),
        (step2_rate.main, ["optim.lr=0.1", "optim.lr=0.2", "--dry-run"], "override optim.lr: given twice"),
        (studies_main, ["doctor", "--preset", "digits", "--preset", "cifar10_rot"], "--preset is given twice"),
    ],
)
def test_two_values_for_one_setting_are_an_error(main, words, shown, capsys):
    assert main(words) == 2
    assert shown in capsys.readouterr().err


def test_the_same_value_twice_and_options_that_collect_are_fine():
    assert trainer_main(["--seed", "1", "--seed", "1", "optim.lr=0.1", "optim.lr=0.1", "--dry-run"]) == 0
    p = Parser(prog="p")
    p.add_argument("--folder", action="append")
    p.add_argument("--size", type=int)
    assert p.parse_args(["--folder", "a", "--folder", "b"]).folder == ["a", "b"]
    assert p.parse_args(["--size", "1"]).size == 1 and p.parse_args(["--size", "2"]).size == 2, (
        "each command line stands alone"
    )


def test_ctrl_c_is_a_line_and_130(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert guarded(interrupted, "interrupted; nothing was written") == 130
    assert capsys.readouterr().err == "\ninterrupted; nothing was written\n"


def test_a_trainers_line_fits_80_columns_and_says_which_number_is_a_rank(capsys):
    from trainer.__main__ import _print_epoch
    from trainer.families.seq_jepa import COLUMNS, LEGEND

    live = {
        "predict_live/z_hat@3": 0.8248,
        "linacc_live/z_agg@3": 100.0,
        "rank_pr_live/z@3": 123.4,
        "rank_pr_live/z_agg@3": 123.4,
    }
    _print_epoch({**live, "epoch": 1234, "probe_epoch": 1234, "score": 100.0}, COLUMNS)
    line = capsys.readouterr().out.rstrip("\n")
    assert all(len(one) <= 80 for one in LEGEND.splitlines()) and len(line) <= 84
    assert re.search(r"linacc 100\.0  rank z 123\.4  rank z_agg 123\.4  frozen 100\.0$", line)
    _print_epoch(
        {
            **live,
            "epoch": 30,
            "linacc_live/z_agg@3": 68.7,
            "rank_pr_live/z@3": 23.4,
            "rank_pr_live/z_agg@3": 5.2,
            "probe_epoch": 30,
            "score": 68.7,
        },
        COLUMNS,
    )
    assert len(capsys.readouterr().out.rstrip("\n")) <= 80
