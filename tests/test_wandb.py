"""W&B as a mirror: what reaches it, and what a server that does not answer costs."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small import config
from test_analysis import full

import analysis
from studies import step2_rate
from studies.command import cli as studies_cli
from trainer.errors import UsageError
from trainer.mirrors import wandb_mirror
from trainer.record.identity import arm_id

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parent.parent
KEY = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = [
    "model.encoder.width=4",
    "model.action_dim=8",
    "model.predictor_hidden=32",
    "model.layers=2",
    "data.sizes=[128,64,64]",
]
TRAIN = ["--across-commits", "--epochs", "2", "--gate", "none", *SETTINGS]


class Address(str):
    """``held``: the connections so far."""

    held: list


@pytest.fixture
def silent():
    """Address of a server that accepts connections and never says a word."""
    server = socket.create_server(("127.0.0.1", 0), backlog=100)
    held = []

    def accept():
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    address = Address(f"http://127.0.0.1:{server.getsockname()[1]}")
    address.held = held
    yield address
    server.close()


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(wandb_mirror, "_silent", {})
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def train(folder, *words, **environment):
    command = [sys.executable, "-m", "trainer", "--results-dir", str(folder), *TRAIN, *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def records(folder):
    """What an offline run's file holds, by W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    from analysis.ingest.wandb_offline import _records

    (path,) = folder.rglob("run-*.wandb")
    return [Record.FromString(raw) for raw in _records(path)]


def history(folder):
    """Every step that an offline run holds, and its settings."""
    steps, settings = {}, None
    for record in records(folder):
        if record.WhichOneof("record_type") == "run":
            settings = record.run
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            steps[items.pop("_step", record.history.step.num)] = items
    return steps, settings


def summary(folder):
    """The last value of everything in a run's summary."""
    found = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "summary":
            items = record.summary.update
            found |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
    return found


def test_an_offline_run_holds_every_series_and_obeys_wandbs_own_variables(tmp_path):
    environment = {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "ours",
        "WANDB_ENTITY": "team",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
        "WANDB_TAGS": "a,b",
    }
    done = train(
        tmp_path, "objective.teacher=ema", "objective.ema.half_life=0.1", "objective.weights.rate=0.1", **environment
    )
    assert done.returncode == 0, done.stderr
    steps, run = history(tmp_path / "elsewhere")
    assert (run.project, run.entity, list(run.tags)) == ("ours", "team", ["a", "b"])
    assert (run.run_group, run.job_type) == ("single", "single"), "by study and role"
    assert not (tmp_path / "single" / "wandb").exists()
    assert sorted(steps) == [0, 1, 2]
    wanted = {
        "loss/total",
        "term/predict",
        "term/rate",
        "rate_nats/agg",
        "lr",
        "ema_decay",
        "log/ep_loss",
        "log/online_linacc_test",
        "log/rank_eq_eff",
    }
    assert wanted <= steps[1].keys() and wanted <= steps[2].keys()
    (record,) = (tmp_path / "single" / "runs").glob("*/records.jsonl")
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    for line in lines:
        for name, value in line["metrics"].items():
            assert value is None or steps[line["epoch"]][name] == value


REPORT = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from small import config
from studies.result import reported
from trainer.mirrors.mirror import Mirrors, Report, show_report
folder = Path(sys.argv[1])
run = folder / "runs" / "s0-lambda0-1"
mirrors = Mirrors(config(), "demo", "label", run, "offline", False, "lambda0")
mirrors.close()
(folder / "report").mkdir()
(folder / "report" / "table.md").write_text("a table")
tables, said = reported(folder)
report = Report([], tables, [folder / "report" / "table.md"], said)
assert show_report(report, config(), "demo", folder / "report", "offline", False) is None
"""


def test_a_study_is_a_group_of_runs_and_ends_with_its_tables_and_verdicts(tmp_path):
    study = full(tmp_path / "demo").folder
    path = study / "runs" / "s0-lambda0-1" / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1] |= {"epoch": 6}
    lines[-1]["gate"]["reasons"] = ["FAIL rank of z: 1.7, must be >= 4"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = os.environ | {"WANDB_API_KEY": KEY, "HOME": str(tmp_path)}
    before = path.read_bytes()
    subprocess.run([sys.executable, "-c", REPORT, str(study)], cwd=ROOT, env=environment, check=True, timeout=240)
    (of_run,) = (study / "wandb").rglob("offline-run-*-s*")
    (of_report,) = (study / "wandb").rglob("offline-run-*-report")
    runs = {folder: history(folder)[1] for folder in (of_run, of_report)}
    assert {run.run_group for run in runs.values()} == {"demo"}
    assert [run.job_type for run in runs.values()] == ["lambda0", "report"]
    back = analysis.load(of_run)  # joins with the records: the same arm, and epochs
    assert back.runs["arm_id"].tolist() == [arm_id(config())] and back.runs["epoch"].notna().all()
    assert len(back.epochs) and back.epochs["epoch"].equals(back.epochs["step"])
    said = summary(of_run)
    assert (said["gate/name"], said["gate/passed"], said["gate/reasons"]) == (
        "g", False, ["FAIL rank of z: 1.7, must be >= 4"],
    )  # fmt: skip
    said = summary(of_report)
    assert said["verdict"]["coding rate, stopgrad"].startswith("better: +13.0 [") and len(said["said"]) > 3
    assert said["gate"]["stopgrad λ=0.1 (best)"] == "3 of 3 passed"
    kept = [record.artifact for record in records(of_report) if record.WhichOneof("record_type") == "artifact"]
    files = {one.type: [content.path for content in one.manifest.contents] for one in kept}
    assert files["report"] == ["table.md"] and len(kept) == 1 + 5, "arms, contrasts, gates, leakage, cost"
    (table,) = of_report.rglob("contrasts*.table.json")
    table = json.loads(table.read_text())
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    assert first["verdict"] == "better" and first["mean"] == 13.0 and "run_table" in files
    assert path.read_bytes() == before, "the record is the truth"
    written = [file for file in study.rglob("*") if file.is_file()]
    assert written and not [file for file in written if KEY.encode() in file.read_bytes()]
    assert not (tmp_path / ".local").exists(), "whatever waits to be sent lies with the study"


def test_a_server_that_never_answers_costs_seconds_and_is_said_and_the_run_is_kept_offline(tmp_path, silent):
    plain, mirrored = (
        _timed(tmp_path / name, *words, WANDB_BASE_URL=silent, WANDB_API_KEY=KEY)
        for name, words in (("off", ["--wandb", "off"]), ("on", ["--wandb", "online"]))
    )
    assert "did not answer within 3 s" in mirrored[1].stderr and "wandb sync" in mirrored[1].stderr
    assert mirrored[0] < 20 + 2 * plain[0]  # on a free machine 2 to 4 s more
    assert len(silent.held) == 1, (
        "asked once; whatever else waits for this server, as the client's reports on itself, waits for long"
    )
    assert sorted(history(tmp_path / "on")[0]) == [0, 1, 2]
    for text in (mirrored[1].stderr, mirrored[1].stdout):
        assert KEY not in text


def _timed(folder, *words, **environment):
    began = time.monotonic()
    done = train(folder, *words, **environment)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began, done


def test_asking_has_a_limit_and_the_next_run_need_not_wait_again(silent):
    began = time.monotonic()
    assert "did not answer within" in wandb_mirror.unanswered(silent)
    assert time.monotonic() - began < 2 * wandb_mirror.ANSWER_SECONDS + 4
    began = time.monotonic()
    assert wandb_mirror.unanswered(silent) is not None and time.monotonic() - began < 1


def test_a_closed_port_is_told_from_a_server_that_refuses_the_question():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "cannot be reached (Connection refused)" in wandb_mirror.unanswered(f"http://127.0.0.1:{port}")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(401)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert wandb_mirror.unanswered(f"http://127.0.0.1:{server.server_port}") is None
        server.shutdown()


@pytest.mark.parametrize(
    ("environment", "asked", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": KEY}, None, "online"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, None, "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, None, "off"),
        ({"WANDB_API_KEY": KEY, "WANDB_DISABLED": "true"}, None, "off"),
        ({"WANDB_MODE": "dryrun"}, None, "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "online", "online"),
        ({"WANDB_MODE": "online"}, "off", "off"),
    ],
)
def test_the_option_goes_before_wandbs_variables_and_these_before_the_key(
    environment, asked, mode, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mirror.resolve_mode(asked) == mode


@pytest.mark.parametrize(
    ("words", "mode"), [(["--quick"], "off"), ([], "offline"), (["--quick", "--wandb", "offline"], "offline")]
)
def test_without_a_key_a_study_is_mirrored_offline_and_a_quick_one_is_not(words, mode, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    words = [*words, "--dry-run", "--results-dir", str(tmp_path)]
    code, plan = studies_cli.start(words, step2_rate.STUDY)
    assert code == 0 and plan.wandb == mode


def test_a_wrong_mode_and_a_missing_key_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "onlien")
    with pytest.raises(UsageError, match="WANDB_MODE=onlien: must be one of"):
        wandb_mirror.resolve_mode(None)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UsageError, match="needs a key"):
        wandb_mirror.resolve_mode(None)


def test_a_key_for_ones_own_server_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.delenv("NETRC", raising=False)
    assert wandb_mirror.resolve_mode(None) == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_mirror.resolve_mode(None) == "online"
    monkeypatch.delenv("WANDB_BASE_URL")
    from wandb.sdk.lib.urls import DEFAULT_BASE_URL

    login = f"machine {DEFAULT_BASE_URL.removeprefix('https://')} login user password {KEY}\n"
    (tmp_path / ".netrc").write_text(login)
    assert wandb_mirror.resolve_mode(None) == "online", "where this client's own login notes it"
