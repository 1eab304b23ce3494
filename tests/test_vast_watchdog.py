"""The on-start script: a machine ends itself when idle, at its hours and at its money, however long that takes."""

import os
import subprocess

import pytest

from clusters.vast.rent import LONGEST_ON_START, on_start

pytestmark = pytest.mark.heavy

CURL = """#!/bin/bash
echo "$@" >> "$FAKE/asked"
n=$(wc -l < "$FAKE/asked")
line=$(sed -n "${n}p" "$FAKE/answers" 2>/dev/null)
echo -n "${line:-200}"
"""
SLEEP = """#!/bin/bash
now=$(($(cut -d. -f1 "$FAKE/proc/uptime") + ${1%.*}))
echo "$now.0 0" > "$FAKE/proc/uptime"
[ -x "$FAKE/each" ] && "$FAKE/each" $now
[ $now -ge $(cat "$FAKE/until") ] && kill $PPID
exit 0
"""


class Machine:
    """The script with a clock that runs while it sleeps, and a service whose answers are given."""

    def __init__(self, folder):
        self.folder, self.home = folder, folder / "home"
        for name in ("home", "bin", "sbin", "proc"):
            (folder / name).mkdir()
        for name, text in (
            ("curl", CURL),
            ("sleep", SLEEP),
            ("setsid", "#!/bin/bash\n"),
            ("date", "#!/bin/bash\necho 1999-01-01\n"),
        ):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.uptime(100)
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "FAKE": str(folder),
            "STUDY_PROC": str(folder / "proc"),
            "CONTAINER_ID": "77",
            "CONTAINER_API_KEY": "its-own-key",
            "STUDY_MAX_SECONDS": "36000",
            "STUDY_MONEY_SECONDS": "40000",
            "STUDY_IDLE_SECONDS": "1200",
            "STUDY_WATCH": "60",
            "STUDY_USD_PER_HOUR": "0.4",
            "STUDY_API": "http://service",
        }

    def uptime(self, seconds):
        (self.folder / "proc" / "uptime").write_text(f"{seconds}.00 0\n")

    def process(self, words, number=1):
        place = self.folder / "proc" / str(number)
        place.mkdir(exist_ok=True)
        (place / "cmdline").write_bytes(words.replace(" ", "\0").encode())

    def start(self, **environment):
        script = on_start().replace("/usr/local/sbin", str(self.folder / "sbin"))
        done = subprocess.run(
            ["bash", "-c", script], env=self.environment | environment, capture_output=True, text=True, timeout=30
        )
        assert done.stderr == "", done.stderr

    def watch(self, seconds):
        """Let so many seconds pass; what the watchdog wrote down."""
        now = float((self.folder / "proc" / "uptime").read_text().split()[0])
        (self.folder / "until").write_text(str(int(now + seconds)))
        subprocess.run(
            ["bash", str(self.home / ".study" / "watch")], env=self.environment, capture_output=True, timeout=120
        )
        log = self.home / ".study" / "log"
        return log.read_text() if log.exists() else ""

    def asked(self):
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_it_fits_and_prepares_the_machine(machine):
    assert len(on_start()) <= LONGEST_ON_START and not any(line.startswith("# ") for line in on_start().splitlines())
    machine.start()
    assert (machine.home / ".no_auto_tmux").exists()
    saved = machine.home / ".study" / "env"
    assert "its-own-key" in saved.read_text() and saved.stat().st_mode & 0o077 == 0
    assert "STUDY_USD_PER_HOUR=0.4" in (machine.home / ".bashrc").read_text()
    for name in ("shutdown", "poweroff", "halt"):
        assert f"{machine.home}/.study/end" in (machine.folder / "sbin" / name).read_text()
    machine.start()  # as after a restart of the container
    assert (machine.home / ".bashrc").read_text().count("STUDY_USD") == 1


def test_idle(machine):
    """Whatever the clock says: ``date`` answers 1999 all the time, and no decision uses it."""
    machine.start()
    assert machine.watch(1150) == "" and machine.asked() == []
    assert "ended: idle" in machine.watch(1250)
    assert (
        machine.asked()[0].endswith("-X DELETE -d {} http://service/api/v0/instances/77/")
        and "Bearer its-own-key" in machine.asked()[0]
    )


@pytest.mark.parametrize(
    ("words", "busy"),
    [
        ("ray::ImplicitFunc.train", True),
        ("ray::IDLE", False),
        ("ray::DashboardAgent", False),
        ("ray::RuntimeEnvAgent", False),
        ("python studies/step2_rate.py --quick", True),
        ("/venv/main/bin/python3 -m trainer --preset digits", True),
        ("bash -c python studies/step2_rate.py", False),  # a shell that is left over from a study
        ("python -m http.server", False),
    ],
)
def test_what_counts_as_work(machine, words, busy):
    machine.process(words)
    machine.process("ray::IDLE", 2)
    machine.start()
    assert ("ended: idle" in machine.watch(3000)) == (not busy)


def test_a_file_shows_life_too(machine):
    machine.start()
    (machine.home / ".study" / "alive").touch()
    assert machine.watch(1500) == ""
    os.utime(machine.home / ".study" / "alive", (0, 0))
    assert "ended: idle" in machine.watch(1500)


@pytest.mark.parametrize(("limit", "name"), [("STUDY_MAX_SECONDS", "hours"), ("STUDY_MONEY_SECONDS", "money")])
def test_work_without_end_meets_the_limit_also_over_restarts(machine, limit, name):
    machine.process("ray::train")
    machine.environment[limit] = "6000"
    machine.start()
    assert machine.watch(4000) == ""
    machine.uptime(3)  # the container was restarted on another boot of the host
    machine.start()
    assert machine.watch(1500) == ""
    assert f"ended: {name}" in machine.watch(1500)


def test_an_hour_of_failing_deletions_is_outlasted(machine):
    machine.start()
    (machine.folder / "answers").write_text("500\n" * 10 + "000\n" * 8 + "429\n" * 3 + "200\n")
    machine.watch(1200 + 4500)
    asked = machine.asked()
    assert len(asked) >= 17 and all("DELETE" in line for line in asked)
    assert "delete: 500" in machine.watch(0) and "delete: 000" in machine.watch(0)


def test_a_key_that_may_not_delete_stops_the_machine_and_goes_on_asking(machine):
    machine.start()
    (machine.folder / "answers").write_text("403\n200\n403\n200\n")
    machine.watch(1200 + 60)
    asked = machine.asked()
    assert ["DELETE" in line for line in asked[:4]] == [True, False, True, False]
    assert '-X PUT -d {"state":"stopped"}' in asked[1]
