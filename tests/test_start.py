"""A study's start: interrupted at any moment, beside files of the user's own, with an awkward temporary folder."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from faults import processes
from faults.study import ROOT, Study
from small import SMALL

from studies.command.interrupt import Interrupt
from studies.executors import private_folder
from trainer.errors import UsageError
from trainer.record.run import comparable

pytestmark = pytest.mark.heavy

COMMANDS = (["studies/step2_rate.py"], ["studies/step2_grid.py"], ["-m", "studies", "doctor"])


def temporary():
    """A temporary folder whose path is short enough for sockets."""
    return tempfile.TemporaryDirectory(prefix="m", dir="/tmp")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[-1])
def test_ctrl_c_during_the_imports_is_one_line(tmp_path, command):
    """pydantic is imported by all; here it takes as long as it likes. Short sleeps: a signal that comes between the
    interpreter's last look and the call would wait for one long sleep's end."""
    (tmp_path / "pydantic.py").write_text(
        f"import time\nopen({str(tmp_path / 'importing')!r}, 'w').close()\nfor _ in range(600):\n    time.sleep(0.1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "importing").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said and said.startswith("\ninterrupted"), said


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_ray_starts_leaves_nothing(tmp_path, monkeypatch, times):
    with temporary() as place:
        monkeypatch.setenv("TMPDIR", place)
        study = Study(
            tmp_path, "--num-trials", "2", "--epochs", "3", "--seeds", "1", "--stopping", "none", *SMALL
        ).start()
        study.until(lambda: list(Path(place).glob("sj-*/r/session_*")), "Ray's first folder", every=0.01)
        for _ in range(times):
            study.driver.send_signal(signal.SIGINT)
            time.sleep(0.5)
        said = study.wait(130, seconds=180)
        assert "Traceback" not in said and "--resume" in said and "stopping as soon as Ray has started" in said
        study.gone(60)
        assert list(Path(place).glob("sj-*")) == []


def test_a_signal_that_comes_too_early_is_held_back_once(capsys):
    with Interrupt() as interrupt:
        reached = False
        with pytest.raises(KeyboardInterrupt):
            with interrupt.later("Ray has started"):
                signal.raise_signal(signal.SIGINT)
                reached = True
        assert reached and "stopping as soon as Ray has started" in capsys.readouterr().err
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        with interrupt.later("Ray has started"):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def test_a_signal_that_python_cannot_raise_where_it_came_is_not_printed_and_not_lost(capsys, monkeypatch):
    class Dropped:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    class Broken:
        def __del__(self):
            raise ValueError("odd")

    others = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)
    with Interrupt() as interrupt:
        Dropped()
        assert capsys.readouterr().err == ""
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        Broken()
    assert [what.exc_type for what in others] == [ValueError] and sys.unraisablehook == others.append


def test_signals_are_left_alone_in_a_thread():
    failed = []

    def enter():
        try:
            with Interrupt() as interrupt:
                interrupt.check()
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failed == []


def test_a_study_in_a_thread_beside_the_users_own_files_with_a_long_temporary_folder(tmp_path, monkeypatch):
    """The user's trainer.py, studies.py and analysis.py are not ours, in no process; Ray's sockets find a shorter
    place. One worker under Ray Train is the run in a plain process."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("trainer", "studies", "analysis", "search_spaces"):
        (here / f"{name}.py").write_text(f"raise RuntimeError('the user\\'s {name}.py was imported')\n")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    records = []
    for executor, words in (("process", ()), ("ray", ("--backend", "ray-train"))):
        settings = ["--epochs", "2", "--seeds", "1", "--workers-per-trial", "1", *words, *SMALL]
        script = ROOT / "tests" / "faults" / "in_thread.py"
        study = Study(tmp_path / executor, *settings, script=script, executor=executor)
        said = study.start().wait(0)
        assert "was imported" not in said and "linear accuracy" in said.lower()
        (run,) = study.run_ids
        records.append([comparable(line) for line in study.lines(run)])
    assert "1 worker (ray-train)" in said and records[0] == records[1]


# --- the private folder


def test_the_first_usable_temporary_folder_is_taken(tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    assert private_folder.base({"TMPDIR": str(long)}) == Path("/tmp") and private_folder.base({}) == Path("/tmp")
    with temporary() as place:
        assert private_folder.base({"TMPDIR": place}) == Path(place)
        (named := Path(place) / "tmp é").mkdir()
        assert private_folder.base({"TMPDIR": str(named)}) == Path("/tmp")  # where Ray fails to start
        with pytest.raises(UsageError, match="letters beyond ASCII; set RAY_TMPDIR"):
            with private_folder.private_folder({"RAY_TMPDIR": str(named)}):
                pass
    with pytest.raises(
        UsageError, match=r"x/?: Ray's sockets would have \d+-byte paths, 107 are allowed; set RAY_TMPDIR"
    ):
        with private_folder.private_folder({"RAY_TMPDIR": str(long)}):
            pass
    with pytest.raises(UsageError, match="/no/such: not a folder"):
        with private_folder.private_folder({"RAY_TMPDIR": "/no/such"}):
            pass


def test_a_socket_really_fits_where_it_is_said_to():
    import socket

    with temporary() as place:
        room = private_folder.LONGEST_SOCKET - private_folder.socket_bytes(Path(place)) - 1
        folder = Path(place) / ("y" * room)
        path = Path(f"{folder}{private_folder.SOCKET}")
        path.parent.mkdir(parents=True)
        assert private_folder.fault(folder) is None and len(os.fsencode(path)) == 107
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
        assert "108-byte" in private_folder.fault(Path(f"{folder}y"))


def test_the_folder_is_private_and_goes_and_what_killed_drivers_left_goes_too():
    with temporary() as place, private_folder.private_folder({"TMPDIR": place}) as first:
        assert first.stat().st_mode & 0o777 == 0o700 and (first / "token").stat().st_mode & 0o777 == 0o600
        program = (
            "import os\nfrom studies.executors.private_folder import private_folder\nwith private_folder({'TMPDIR':"
            f" {place!r}}}):\n    os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        left = set(Path(place).glob("sj-*")) - {first}
        assert len(left) == 1 and (next(iter(left)) / "token").exists()
        waits = "import sys; file = open(sys.argv[1], 'w'); print(flush=True); sys.stdin.read()"
        agent = subprocess.Popen(
            [sys.executable, "-c", waits, str(next(iter(left)) / "log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        agent.stdout.readline()
        foreign = Path(place) / "sj-notours1"
        foreign.mkdir()  # without a lock: somebody else's
        with private_folder.private_folder({"TMPDIR": place}) as second:
            assert set(Path(place).glob("sj-*")) == {first, second, foreign}
            assert agent.wait(10) == -signal.SIGKILL
        assert not second.exists()


def test_only_processes_of_the_folder_are_ended(tmp_path):
    folders = (tmp_path / "sj-one", tmp_path / "sj-one2")
    program = (
        "import sys, time; file = open(sys.argv[1] + '/log', 'w'); open(sys.argv[1] + '/up', 'w').close();"
        " time.sleep(60)"
    )
    for folder in folders:
        folder.mkdir()
    ours, other = (subprocess.Popen([sys.executable, "-c", program, str(folder)]) for folder in folders)
    try:
        while not all((folder / "up").exists() for folder in folders):
            time.sleep(0.01)
        assert private_folder.end_left(folders[0]) == [ours.pid]
        assert ours.wait(10) == -signal.SIGKILL and other.poll() is None and processes.born(other.pid)
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
