"""A study's own Ray lets nobody else in, and nothing secret of the user's environment gets into it or out of it.

One study with secrets in its environment, a dashboard, and a trial that fails with the secrets in its message.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import browser
import pytest
from faults import processes
from faults.study import ROOT, Study
from small import SMALL

pytestmark = pytest.mark.heavy

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAMARKERMARKER1234",
    "AWS_SECRET_ACCESS_KEY": "marker/aws+secret/0123456789abcdef",
    "WANDB_API_KEY": "0123456789abcdefmarker0123456789abcdef12",
    "VAST_API_KEY": "markervast0123456789abcdef",
    "DATABASE_URL": "postgresql://user:markerdbpass99@db.example.org/studies",
    "SOME_SERVICE_TOKEN": "marker-token-7f3a9c",
    "MAIL_PASSWORD": "marker-password-5521",
    "HTTPS_PROXY": "http://proxyuser:markerproxypass@127.0.0.1:9",
}
MARKERS = [value for name, value in SECRETS.items() if not name.endswith(("URL", "PROXY"))] + [
    "markerdbpass99",
    "markerproxypass",
]
OUTSIDER = """
import sys, ray

try:
    ray.init(sys.argv[1], logging_level="CRITICAL")
    print("CODE RAN", ray.get(ray.remote(lambda: 1).remote(), timeout=60))
except Exception as error:
    while error is not None:
        print("refused:", type(error).__name__, error)
        error = error.__cause__
"""


def listeners(pids):
    """(address, port, process) of every listening TCP socket of these processes, from /proc."""
    inodes = {}
    for pid in pids:
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
                if found:
                    inodes[found[1]] = pid
        except OSError:
            continue
    lines = []
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                host, port = words[1].split(":")
                raw = b"".join(bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8))
                title = processes.title(inodes[words[9]]).split(" ")[0]
                lines.append((socket.inet_ntop(family, raw), int(port, 16), Path(title).name))
    return sorted(set(lines))


def ask(url, **headers):
    """(status, first bytes) of a request."""
    method = "POST" if url.endswith("/authenticate") else "GET"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=30) as answer:
            return answer.status, answer.read(4000).decode(errors="replace"), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(300).decode(errors="replace"), error.headers


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What was seen while the study ran, and what it left."""
    place = tmp_path_factory.mktemp("private")
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as temporary, pytest.MonkeyPatch.context() as patch:
        for name in [
            *(n for n in os.environ if n.startswith("RAY_")),
            *(n for n in os.environ if n.startswith("WANDB_")),
        ]:
            patch.delenv(name)
        home = place / "home"
        home.mkdir()
        message = tmp_path_factory.mktemp("message") / "message"
        message.write_text(
            " and ".join(f"{name}={value}" if len(name) % 2 else value for name, value in SECRETS.items())
        )
        for name, value in {**SECRETS, "TMPDIR": temporary, "HOME": str(home), "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        options = [
            "--wandb",
            "offline",
            "--dashboard",
            "--retries",
            "0",
            "--num-trials",
            "8",
            "--stopping",
            "none",
            "--epochs",
            "30",
            "--seeds",
            "1",
            "--max-concurrent",
            "1",  # the first fails, the second is frozen while we look
        ]
        study = Study(place / "results", script=ROOT / "tests" / "faults" / "leaky.py")
        at = study._command.index("--results-dir")
        study._command[at:at] = [str(message), str(place / "ray")]
        study._command += [*options, *SMALL]
        study.start()
        seen = SimpleNamespace(study=study, place=place, temporary=Path(temporary))
        try:
            study.until(lambda: study.epochs >= 1 and list(study.folder.glob("errors/*.txt")), "an epoch and a failure")
            pids = processes.below(study.driver.pid)
            trials = [pid for pid in processes.named("ray::ImplicitFunc", pids) if processes.freeze(pid)]
            (seen.folder,) = Path(temporary).glob("sj-*")
            seen.modes = {path.name: path.stat().st_mode & 0o777 for path in (seen.folder, seen.folder / "token")}
            seen.token = (seen.folder / "token").read_text()
            seen.listening = listeners(pids | {study.driver.pid})
            seen.environments = {pid: processes.environment(pid) for pid in pids}
            (gcs,) = [port for _, port, name in seen.listening if name == "gcs_server"][:1]
            hosts = {"127.0.0.1", *_own_addresses()}
            bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
                "PYTHONPATH": str(ROOT)
            }
            attempts = [(host, mode) for host in sorted(hosts) for mode in ("token", "disabled")]
            commands = [
                (
                    [sys.executable, "-c", OUTSIDER, f"{host}:{gcs}"],
                    {**bare, "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "0" * 64},
                )
                for host, mode in attempts
            ]
            outsiders = [
                subprocess.Popen(c, env=e, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=place)
                for c, e in commands
            ]
            url = re.search(r"dashboard: (http://\S+)", study.said)[1]
            seen.url, key = url, {"Authorization": f"Bearer {seen.token}"}
            seen.page = ask(url)
            seen.without = [
                ask(f"{url}/api/jobs/"),
                ask(f"{url}/api/jobs/", Authorization="Bearer wrong"),
                ask(f"{url}/api/authenticate"),
            ]
            entered = ask(f"{url}/api/authenticate", **key)
            cookie = (entered[2].get("Set-Cookie") or "").partition(";")[0]
            seen.entered = [entered, ask(f"{url}/api/jobs/", Cookie=cookie), ask(f"{url}/api/jobs/", **key)]
            if browser.BROWSER and browser.DRIVER:
                seen.clicked = log_in(url, seen.token, tmp_path_factory.mktemp("profile"))
            seen.outsiders = {
                attempt: one.communicate(timeout=240)[0] for attempt, one in zip(attempts, outsiders, strict=True)
            }
            seen.alive = study.driver.poll() is None
            for pid in trials:
                processes.thaw(pid)
            study.driver.send_signal(signal.SIGINT)
            seen.said = study.wait(130)
            seen.left = list(Path(temporary).glob("sj-*"))
            yield seen
        finally:
            if study.driver.poll() is None:
                study.kill()


def log_in(url, token, profile):
    """What stands on the dashboard's page of nodes before and after a user gives it the token."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    with browser.browser(profile) as page:
        wait = WebDriverWait(page, 120)

        def text():
            return page.find_element(By.TAG_NAME, "body").text

        page.get(f"{url}/#/cluster")
        field = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "input[type=password]"))
        before = text()
        field.send_keys(token)
        page.find_element(By.XPATH, "//button[normalize-space()='Submit']").click()
        wait.until(lambda page: "raylet" in text().lower() or "(Head)" in text())
        return before, text()


def _own_addresses():
    """This machine's addresses other than the loopback's, if it has any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))  # sends nothing
            return {probe.getsockname()[0]}
        except OSError:
            return set()


def test_an_outsider_runs_no_code(looked):
    assert looked.alive and len(looked.outsiders) >= 2
    for attempt, said in looked.outsiders.items():
        assert "CODE RAN" not in said and "refused:" in said and ("InvalidAuthToken" in said or "uthentica" in said), (
            attempt,
            said,
        )


def test_what_listens_is_known(looked, record_property):
    """Ray binds gcs, raylet, workers and driver to all interfaces and has no setting for it: the token is what keeps
    others out."""
    record_property("listening", json.dumps(looked.listening))
    assert any(name == "gcs_server" for *_, name in looked.listening)
    port = int(looked.url.rpartition(":")[2])
    assert [host for host, number, _ in looked.listening if number == port] == ["127.0.0.1"]  # the dashboard


def test_the_folder_and_the_token_are_the_users_alone(looked):
    assert looked.modes == {looked.folder.name: 0o700, "token": 0o600} and len(looked.token) == 64
    assert looked.left == []


def test_the_dashboard_opens_with_the_token_and_only_with_it(looked):
    assert looked.page[0] == 200 and "<html" in looked.page[1].lower()
    assert [status for status, *_ in looked.without] == [401, 403, 401]
    assert [status for status, *_ in looked.entered] == [200, 200, 200]
    assert f"cat {looked.folder / 'token'}" in looked.said and looked.token not in looked.said


@browser.needs_a_browser
def test_a_browser_reaches_the_page_with_the_token(looked):
    before, after = looked.clicked
    assert "Authentication Token Required" in before and "(Head)" not in before
    assert "(Head)" in after and "ALIVE" in after and "Authentication Token Required" not in after


def test_no_process_of_ray_has_a_secret_in_its_environment(looked):
    assert sum(b"RAY_AUTH_TOKEN_PATH" in environment for environment in looked.environments.values()) >= 4
    for pid, environment in looked.environments.items():
        assert not [marker for marker in MARKERS if marker.encode() in environment], processes.title(pid)


def test_no_file_holds_a_secret(looked, record_property, capsys):
    """Results, W&B's offline folder, Ray's session with its logs, temporary files, the home folder, and what the driver
    printed."""
    read = [
        path
        for root in (looked.place, looked.temporary)
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    found = [(str(path), marker) for path in read for marker in MARKERS if marker.encode() in path.read_bytes()]
    assert found == []
    kinds = (
        "decisions.jsonl",
        "records.jsonl",
        "errors/",
        "wandb/offline-run",
        "/ray/r/session",
        "driver-1.log",
        "error.txt",
        "error.pkl",
    )
    assert [kind for kind in kinds if not any(kind in str(path) for path in read)] == []
    record_property("files", len(read))
    with capsys.disabled():
        print(f" [{len(read)} files read for {len(MARKERS)} markers]", end="")


def test_the_failure_is_told_without_the_secrets(looked):
    (error,) = looked.study.folder.glob("errors/*.txt")
    text = error.read_text()
    assert "cannot log in" in text and "inner" in text and "[hidden]" in text and "fail_once" in text
    (line,) = looked.study.decisions("fail")
    assert line["kind"] == "failed" and line["reason"].startswith("inner") and "marker" not in line["reason"]
