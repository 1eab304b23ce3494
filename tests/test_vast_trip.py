"""Around a study on a rented machine: following, leaving, coming back, losing it. Only the study is a stand-in."""

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from vast_emulator.laptop import ROOT, Laptop
from vast_emulator.marks import rents_with_tmux
from vast_emulator.server import Emulator

pytestmark = [pytest.mark.heavy, rents_with_tmux]
STAND_IN = """
import os, pathlib, sys, time
place = pathlib.Path("results") / sys.argv[sys.argv.index("--study") + 1]
place.mkdir(parents=True, exist_ok=True)
print("arguments", sys.argv[1:], os.environ.get("STUDY_USD_PER_HOUR"), flush=True)
print("secrets", sorted(n for n in os.environ if n.startswith("AWS_") and "KEY" in n), flush=True)
print("on record", sorted(p.name for p in place.iterdir()), flush=True)
(place / "records.jsonl").write_text("one\\n")
while not (home := pathlib.Path.home() / "go").exists():
    time.sleep(0.1)
(place / "records.jsonl").write_text("one\\ntwo\\n")
print("the table", flush=True)
sys.exit(int(home.read_text()))
"""


class Trip:
    def __init__(self, folder, emulator, name):
        self.laptop, self.emulator, self.name = Laptop(folder / "l", emulator), emulator, name
        binary = folder / "bin" / "ray"
        binary.parent.mkdir()
        script = Path(__file__).parent / "vast_emulator" / "plain_ray.py"
        binary.write_text(f'#!/bin/sh\nexec python {script} "$@"\n')
        binary.chmod(0o755)
        self.laptop.environment |= {"PATH": f"{binary.parent}:{self.laptop.environment['PATH']}", "STAND_IN": STAND_IN}
        self.records = ROOT / "results" / name / "records.jsonl"

    def command(self, *more):
        words = "python -m clusters.vast study studies/step2_rate.py --quick --wandb off".split()
        words += ["--max-usd", "2", "--yes", "--poll-seconds", "0.2", "--study", self.name]
        return [*words, "--config", str(self.laptop.yaml), *more]

    def begun(self, *more):
        """The command, once the study's first record has come home."""
        process = self.laptop.start(*self.command(*more))
        self.until(process, self.records.exists)
        return process

    def until(self, process, true):
        deadline = time.time() + 60
        while not true():
            if process.poll() is not None or time.time() > deadline:
                raise AssertionError(self.laptop.end(process))
            time.sleep(0.1)

    def go(self, code=0):
        home = self.emulator.folder / str(max(self.emulator.ledger.rentals)) / "home"
        (home / "partial").write_text(str(code))
        (home / "partial").rename(home / "go")


@pytest.fixture
def trip():
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    name = f"trip{os.getpid()}"
    with Emulator(folder / "e") as emulator:
        yield Trip(folder, emulator, name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(ROOT / "results" / name, ignore_errors=True)


def ended(process, seconds=60):
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


@pytest.mark.parametrize("code", [0, 3])
def test_from_question_to_zero_instances(trip, code):
    process = trip.begun()
    assert trip.records.read_text() == "one\n"  # it came home while the study ran
    trip.go(code)
    got, said = ended(process)
    assert got == code, said
    assert "the table" in said and "0 instances left" in said and trip.records.read_text() == "one\ntwo\n"
    assert "'--address', 'auto'] 0.4000" in said and "--max-usd" not in said.split("arguments")[1]
    assert "0.400 USD/h; at most 5.0 h and 2.00 USD" in said
    guess = re.search(
        r"estimate   about 0.2 h, (0.1\d) USD with traffic \(without early stopping 0.2 h, (0.1\d) USD\)", said
    )
    assert guess and float(guess[1]) <= float(guess[2])
    assert trip.emulator.ledger.live() == [] and len(trip.emulator.ledger.rentals) == 1


def test_ctrl_c_leaves_a_working_machine_and_the_same_command_follows_it(trip):
    process = trip.begun()
    os.kill(process.pid, signal.SIGINT)
    code, said = ended(process)
    assert code == 130 and "The machine goes on" in said and "ray rsync-down" in said and "Traceback" not in said, said
    assert len(trip.emulator.ledger.live()) == 1
    again = trip.laptop.start(*trip.command())
    time.sleep(3)
    trip.go()
    code, said = ended(again)
    assert code == 0 and said.count("on record []") == 1, said  # the first study went on, no second one was started
    assert "0 instances left" in said and len(trip.emulator.ledger.rentals) == 1


def test_a_study_that_ended_while_nobody_followed_is_brought_home_and_another_is_not_mixed_in(trip):
    process = trip.begun()
    trip.laptop.end(process)
    other = trip.laptop.run(*trip.command("--seeds", "7"), code=2)
    assert "another study runs on instance 1001" in other and "Traceback" not in other
    trip.go(3)
    time.sleep(2)
    code, said = ended(trip.laptop.start(*trip.command()))
    assert code == 3 and said.count("on record []") == 1 and "0 instances left" in said, said
    assert trip.records.read_text() == "one\ntwo\n" and len(trip.emulator.ledger.rentals) == 1


def test_a_machine_that_is_taken_away_is_said_and_resume_brings_the_records_back(trip):
    process = trip.begun()
    trip.emulator.preempt(trip.emulator.ledger.live()[0])
    code, said = ended(process)
    assert code == 4 and "--resume continues" in said and "0 instances left" in said, said
    assert trip.records.read_text() == "one\n"
    again = trip.laptop.start(*trip.command("--resume"))
    trip.until(
        again, lambda: len(trip.emulator.ledger.rentals) == 2 and trip.emulator.ledger.live()[-1].state == "running"
    )
    trip.go()
    code, said = ended(again)
    assert code == 0 and "on record ['records.jsonl']" in said, said
    assert trip.emulator.ledger.live() == [] and trip.emulator.ledger.most_at_once() == 1


def test_another_machine_is_taken_by_itself_when_asked(trip):
    process = trip.begun("--again", "1")
    (first,) = trip.emulator.ledger.live()
    trip.emulator.preempt(first)
    trip.until(process, lambda: len(trip.emulator.ledger.rentals) == 2)
    (second,) = trip.emulator.ledger.live()
    trip.until(process, lambda: second.state == "running")
    trip.go()
    code, said = ended(process)
    assert code == 0 and "going on with another machine; 0 more times" in said, said
    assert "and up to 1 more after it, 4.00 USD in all" in said and "on record ['records.jsonl']" in said
    assert trip.emulator.ledger.live() == [] and trip.emulator.ledger.most_at_once() == 1


def test_the_machine_may_be_kept(trip):
    process = trip.begun("--keep")
    trip.go()
    code, said = ended(process)
    assert code == 0 and "end it now        ray down -y" in said and len(trip.emulator.ledger.live()) == 1


def test_records_that_cannot_be_fetched_keep_the_machine(trip):
    process = trip.begun()
    blocked = trip.records.parent
    shutil.rmtree(blocked)
    blocked.write_text("a file where the folder was")
    trip.go()
    code, said = ended(process)
    blocked.unlink()
    assert code == 2 and "Traceback" not in said, said
    assert len(trip.emulator.ledger.live()) == 1


def test_mistakes_cost_nothing(tmp_path):
    with Emulator(tmp_path / "e", containers=False) as emulator:
        laptop = Laptop(tmp_path / "l", emulator)
        for words, message in (
            (["studies/nothing.py"], "studies/nothing.py: give a file"),
            (["studies/step2_rate.py", "--epohcs", "3"], "did you mean --epochs"),
            (["studies/step2_rate.py", "--address", "auto"], "--address: this command sets it"),
            (["studies/step2_rate.py", "--max-usd", "-1"], "provider.max_usd: -1.0 must be a positive number"),
            (["studies/step2_rate.py", "--quick"], "rent it? Nobody can answer here; add --yes"),
        ):
            said = laptop.run("python", "-m", "clusters.vast", "study", *words, "--config", str(laptop.yaml), code=2)
            assert message in said and "Traceback" not in said, said
        assert emulator.ledger.rentals == {}
