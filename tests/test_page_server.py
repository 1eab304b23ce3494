"""The live page without a browser: who may ask, what is answered, and that it follows the records."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from page_studies import full, half

from analysis.page.facts import gather
from analysis.page.live import address
from analysis.page.live.server import key_of, studies_in
from analysis.page.live.tail import Tails, slim
from analysis.page.live.watch import Watched
from analysis.page.writing import study_html
from analysis.recorded.runs import read_run
from analysis.recorded.study import load
from trainer.errors import RecordError

ROOT = Path(__file__).resolve().parent.parent


class Served:
    """A server in a process of its own."""

    def __init__(self, *folders: Path, more: tuple[str, ...] = ()):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "analysis", "live", *map(str, folders), *more],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{22})", self.line)
        assert found, self.line
        self.port, self.token = int(found[1]), found[2]
        self.cookie: dict[str, str] = {}
        self.keys = [key_of(study) for folder in folders for study in studies_in(folder)]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        link.request(
            method, path, headers=self.cookie | {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = link.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        link.close()
        return found

    def enter(self) -> None:
        status, headers, _ = self.ask(f"/?token={self.token}")
        assert status == 303
        self.cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    full(folder / "one")
    half(folder / "two")
    server = Served(folder)
    yield server
    server.end()


def test_nobody_enters_without_the_token(served):
    first = f"/s/{served.keys[0]}"
    for path in ("/", first, f"{first}/events", f"{first}/part/data", "/?token=wrong", "/s/..%2f"):
        status, headers, text = served.ask(path)
        assert status == 403 and "Set-Cookie" not in headers and "coding" not in text, path
    assert served.ask("/", Cookie=f"page-{served.port}=x")[0] == 403
    status, headers, _ = served.ask(f"/?token={served.token}")
    assert status == 303 and headers["Location"] == "/"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["Set-Cookie"].split("; "))


def test_other_names_other_methods_and_other_paths_are_refused(served):
    served.enter()
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1.evil:{served.port}",
    ):
        assert served.ask("/", Host=host)[0] == 403, host
    assert served.ask(f"/s/{served.keys[0]}", Host=f"localhost:{served.port}")[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert served.ask("/", method)[0] == 405, method
    study = f"/s/{served.keys[0]}"
    for path in ("/s/..%2f", "/s/..%2f..%2fetc%2fpasswd", "/s/9", "/s/one", f"{study}/part/..%2f..%2fstudy.json",
                 f"{study}/part/nothing", "/../../etc/passwd", f"{study}%00", "/static/page.js"):  # fmt: skip
        assert served.ask(path)[0] == 404, path


def test_it_listens_on_loopback_only(served):
    rows = Path(f"/proc/{served.process.pid}/net/tcp").read_text().splitlines()[1:]
    port = f"{served.port:04X}"
    listening = {
        row.split()[1].split(":")[0] for row in rows if row.split()[1].endswith(f":{port}") and row.split()[3] == "0A"
    }
    assert listening == {"0100007F"}


def test_what_is_answered(served):
    served.enter()
    first = f"/s/{served.keys[0]}"
    status, headers, text = served.ask("/")
    assert status == 200 and text.count('href="/s/') == 2 and "Nothing" not in text
    status, headers, page = served.ask(first)
    assert (
        status == 200 and headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    )
    asked = headers["Content-Security-Policy"]
    assert (
        "default-src 'none'" in asked
        and "connect-src 'self'" in asked
        and "unsafe-inline'" in asked
        and "unsafe-eval" not in asked
    )
    assert (
        "Access-Control-Allow-Origin" not in headers
        and "Better: coding rate, stopgrad" in page
        and "all studies" in page
    )
    part = served.ask(f"{first}/part/top")[2]
    assert part in page and "Better: coding rate, stopgrad" in part
    assert json.loads(served.ask(f"{first}/part/data")[2])["tables"][0]["rows"]
    assert served.ask(first, "HEAD")[2] == ""


def events(server: Served, key: str):
    """The stream of a study: what each message says."""
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
    link.request("GET", f"/s/{key}/events", headers=server.cookie)
    answer = link.getresponse()
    assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/event-stream")
    while True:
        line = answer.readline().decode()
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_what_is_recorded_is_shown(tmp_path):
    study = half(tmp_path / "study")
    server = Served(study.folder)
    try:
        server.enter()
        key = server.keys[0]
        assert server.ask("/")[0] == 303 and "n = 3, 4 needed" in server.ask(f"/s/{key}")[2]
        stream = events(server, key)
        begun_with = next(stream)
        assert set(begun_with["parts"]) >= {"top", "arms", "runs", "data"} and not begun_with["ended"]
        for run_id, value in (("s0-lambda0-4", 51.0), ("s1-best-4", 65.0)):
            study.run(run_id, value)
        begun = time.monotonic()
        second = next(one for one in stream if "Better" in server.ask(f"/s/{key}/part/top")[2])
        assert second["boot"] == begun_with["boot"] and second["parts"]["top"] != begun_with["parts"]["top"]
        assert time.monotonic() - begun < 240
        (study.folder / "decisions.jsonl").write_text("rubbish\n")
        assert "decisions.jsonl" in next(one for one in stream if one["error"])["error"]
        assert server.ask(f"/s/{key}")[0] == 200, "what was read before stays"
    finally:
        server.end()


def test_a_study_that_begins_later_is_found(tmp_path):
    watched = tmp_path / "results"
    watched.mkdir()
    server = Served(watched)
    try:
        server.enter()
        assert "No study in" in server.ask("/")[2]
        full(watched / "new")
        deadline = time.monotonic() + 60
        while server.ask("/")[0] != 303:
            assert time.monotonic() < deadline
            time.sleep(0.3)
    finally:
        server.end()


def test_a_page_has_its_address_again_and_no_other_page_has_its_token(tmp_path):
    file, folders = tmp_path / "state" / "page.key", [tmp_path / "one"]
    key = address.key(file)
    assert address.key(file) == key and file.stat().st_mode & 0o777 == 0o600
    port, token = address.usual_port(key, folders), address.token(key, folders, 1234)
    others = [address.token(key, [tmp_path / "two"], 1234), address.token(key, folders, 1235)]
    assert len({token, *others, address.token(bytes(32), folders, 1234)}) == 4 and len(token) == 22
    assert address.FIRST_PORT <= port < address.FIRST_PORT + address.PORTS
    file.chmod(0o644)  # others may have read it
    second = address.key(file)
    assert second != key and file.stat().st_mode & 0o777 == 0o600
    os.utime(file, (0, 0))
    assert address.key(file) not in (key, second), "a token that was seen once does not open the page for ever"
    unwritable = tmp_path / "file" / "page.key"
    unwritable.parent.write_text("")
    assert len(address.key(unwritable)) == 32 and address.key(unwritable) != address.key(unwritable)


def test_a_port_that_is_taken_leaves_another_with_another_token(tmp_path):
    study = full(tmp_path / "study").folder
    first, second = Served(study), Served(study)
    first.end()
    third = Served(study)
    assert (third.port, third.token) == (first.port, first.token)
    assert second.port != first.port and second.token != first.token
    for server in (second, third):
        server.end()


def test_it_ends_with_the_process_it_is_for(tmp_path):
    script = (
        "import subprocess, sys, os, time\n"
        "words = [sys.executable, '-m', 'analysis', 'live', sys.argv[1], '--while-alive', str(os.getpid())]\n"
        "child = subprocess.Popen(words, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    pid, deadline = int(done.stdout), time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "analysis" in Path(f"/proc/{pid}/cmdline").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_wrong_commands_are_one_line(tmp_path):
    for words, said in (
        ([str(tmp_path / "none")], "is no folder"),
        ([str(tmp_path), "--port", "99999"], "--port 99999"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "analysis", "live", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert (
            done.returncode == 2
            and done.stderr.startswith("error: ")
            and done.stderr.count("\n") == 1
            and said in done.stderr
        )


# --- reading again and again


def same(path: Path, tails: Tails) -> None:
    found, cold = tails(path), slim(read_run(path))
    assert found == cold


def test_a_tail_reads_as_a_cold_reader_does(tmp_path):
    study = full(tmp_path / "demo")
    path = study.folder / "runs" / "s1-best-1" / "records.jsonl"
    lines, tails = path.read_bytes().splitlines(keepends=True), Tails()
    path.write_bytes(b"")
    for number in range(1, len(lines) + 1):  # grows
        path.write_bytes(b"".join(lines[:number]))
        same(path, tails)
    torn = lines[3][:40]
    path.write_bytes(b"".join(lines[:3]) + torn)  # shrinks to a torn line
    same(path, tails)
    with path.open("r+b") as file:  # which is cut off, and the run goes on
        file.truncate(sum(map(len, lines[:3])))
        file.seek(0, os.SEEK_END)
        file.write(b"".join(lines[3:]))
    same(path, tails)
    other = path.with_name("other")
    other.write_bytes(b"".join(lines[:5]))
    os.replace(other, path)  # replaced by another file
    same(path, tails)
    changed = [line.replace(b"0.1", b"0.2") for line in lines]
    path.write_bytes(b"".join(changed))  # the same file with other contents
    same(path, tails)
    path.write_bytes(b"".join(lines[:2]) + b"rubbish\n")
    with pytest.raises(RecordError):
        tails(path)


def test_only_what_is_new_is_parsed(tmp_path, monkeypatch):
    from analysis.page.live import tail

    study = full(tmp_path / "demo")
    path = study.folder / "runs" / "s1-best-1" / "records.jsonl"
    lines, tails, checked = path.read_bytes().splitlines(keepends=True), Tails(), []
    check = tail.check_line
    monkeypatch.setattr(tail, "check_line", lambda *words: checked.append(1) or check(*words))
    path.write_bytes(b"".join(lines[:4]))
    tails(path)
    with path.open("ab") as file:
        file.write(lines[4])
    tails(path)
    tails(path)
    assert len(checked) == 5


def test_a_figure_is_drawn_again_only_when_its_input_changed(tmp_path, monkeypatch):
    from analysis.page.figures.drawing import Drawing

    study, drawn = half(tmp_path / "demo"), []
    html = Drawing.html
    monkeypatch.setattr(Drawing, "html", lambda self, *words: drawn.append(self.title) or html(self, *words))
    watched = Watched("1", study.folder)
    now = time.time()
    assert watched.refresh(now) and drawn
    first = len(drawn)
    assert not watched.refresh(now + 1) and len(drawn) == first
    watched.refresh(now + 60)
    assert len(drawn) == first, "nothing was recorded"
    study.run("s0-lambda0-4", 51.0)
    assert watched.refresh(now + 61) and len(drawn) == 2 * first
    study.run("s1-best-4", 65.0)
    assert watched.refresh(now + 62)
    refused = sum("refused" in html for _, _, html in watched._drawn.values())
    assert 0 < refused < first, "both kinds are here"
    assert len(drawn) == 2 * first + refused, "no figure twice within a minute, but what says that there is none"


def test_the_last_live_page_is_the_offline_page(tmp_path):
    study = half(tmp_path / "demo")
    watched, now = Watched("1", study.folder), time.time() - 100
    watched.refresh(now)  # while the study runs
    study.trial(2, "stopgrad", 0.5, 58.0)
    for number in (0, 2):
        study.run(f"t{number}", 58.0 + number, epochs=3, reason=None)
        watched.refresh(now + 1 + number)
        path = study.folder / "runs" / f"t{number}" / "records.jsonl"
        path.unlink(), path.parent.rmdir()
        study.run(f"t{number}", 58.0 + number)  # by another attempt, in a file of its own
    study.trial(3, "stopgrad", 0.02, None, 2, "diverged")
    for run_id, value in (("s0-lambda0-4", 51.0), ("s1-best-4", 65.0)):
        study.run(run_id, value)
        watched.refresh(now + 10)
    assert not watched.ended
    study.decide({"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": True, "budget": None})
    watched.refresh(now + 11)
    assert watched.ended, "drawn once more at the end, though the last drawing is a second old"
    offline = study_html(gather(load(study.folder), now + 11), "s1")
    live = watched.written()
    assert [part.name for part in live.parts] == [part.name for part in offline.parts]
    for one, other in zip(live.parts, offline.parts, strict=True):
        assert one == other, one.name
    assert live == offline, "tables, runs and state as well"
