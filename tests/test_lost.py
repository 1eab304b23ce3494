"""What was lost of a run is said and trained again, one process writes a record, and old records open as they were."""

import errno
import fcntl
import io
import json
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import kill_engine
import pandas as pd
import pytest
import torch
from small import config

from analysis.recorded.study import load
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine import warm_start
from studies.engine.decisions import Decisions
from studies.engine.folder import agree
from studies.engine.job import Seen
from studies.engine.jobs import Jobs, lost
from studies.engine.search import verify
from studies.running.driver import _history
from studies.step2_rate import STUDY
from trainer import checkpoint, evaluate
from trainer.errors import RecordError, UsageError
from trainer.loop import train
from trainer.record import evaluation as evaluation_record
from trainer.record import identity, jsonl
from trainer.record.identity import run_id
from trainer.record.lock import Lock
from trainer.record.run import RecordFile, comparable, read, write_atomically
from trainer.record.study_lines import read_decisions

pytestmark = pytest.mark.usefixtures("few_steps")

COMMON = {"study": "s", "run_id": "r-s0", "arm_id": "r", "seed": 0}


# --- a study whose runs were lost


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ended") / "s"
    kill_engine.run(folder, 3)
    return folder


def damage_deleted(run):
    shutil.rmtree(run)


def damage_emptied(run):
    (run / "records.jsonl").write_bytes(b"")
    (run / "checkpoint.json").unlink()


def damage_cut(run):
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    (run / "checkpoint.json").unlink()


@pytest.mark.parametrize("damage", [damage_deleted, damage_emptied, damage_cut])
@pytest.mark.parametrize("kind", ["compared", "complete trial", "stopped trial"])
def test_a_lost_run_is_run_again_and_nothing_else(ended, tmp_path, damage, kind):
    folder = shutil.copytree(ended, tmp_path / "s")
    ends = {line["name"]: line for line in read(folder / "decisions.jsonl") if line["event"] == "finish"}
    wanted = {"compared": lambda e: e["trial"] is None,
        "complete trial": lambda e: e["trial"] is not None and e["state"] == "complete",
              "stopped trial": lambda e: e["state"] == "pruned"}[kind]  # fmt: skip
    end = next(line for line in ends.values() if wanted(line))
    before = kind_of(folder)
    damage(folder / "runs" / end["run_id"])
    (folder / "ledger").unlink()
    kill_engine.run(folder, 3)
    assert kind_of(folder) == before
    assert set((folder / "ledger").read_text().split()[::2]) == {end["run_id"]}
    (line,) = [line for line in read(folder / "decisions.jsonl") if line["event"] == "lost"]
    assert line["name"] == end["name"] and line["reason"]


def kind_of(folder):
    """The table, and every run's epochs with their metrics."""
    finals = load(folder).finals.drop(columns=["commit", "dirty"]).to_csv(index=False)
    runs = {
        p.parent.name: sorted(
            (e["event"], e["epoch"], str(e["metrics"])) for e in read(p) if e["event"] in ("epoch", "eval")
        )
        for p in folder.glob("runs/*/records.jsonl")
    }
    return finals, runs


@pytest.mark.parametrize(
    ("state", "epochs", "completed", "problem"),
    [
        ("complete", (1, 2, 3), True, None),
        ("complete", (1, 2, 3), False, "does not say that the run was completed"),
        ("complete", (1, 3), True, "lacks epoch 2 of 3"),
        ("complete", (), False, "is missing, empty or without its beginning"),
        ("pruned", (1, 2), False, None),
        ("pruned", (1,), False, "lacks epoch 2 of 2"),
        ("diverged", (), False, "is missing, empty or without its beginning"),
    ],
)
def test_what_a_record_must_bear_out_of_an_end(state, epochs, completed, problem):
    end = {"state": state, "epoch": 3 if state == "complete" else 2}
    assert lost(end, [Seen(epoch, 1.0) for epoch in epochs], completed, 3) == problem


def test_a_study_that_is_whole_is_left_alone(ended, tmp_path):
    folder = shutil.copytree(ended, tmp_path / "s")
    p = kill_engine.make_plan(folder, 3)
    jobs = Jobs(p, Decisions(folder), kill_engine.STUDY, _history(p))
    assert jobs.left == 0 and jobs.lost == []


# --- a checkpoint newer than its record


@pytest.fixture(scope="module")
def straight_and_short(tmp_path_factory, digits):
    """A run of three epochs, and the same one that has trained two."""
    place = tmp_path_factory.mktemp("trained")
    train(config(epochs=3), place / "straight", images=digits)
    train(config(epochs=2), place / "short", images=digits)
    return place


@pytest.mark.parametrize("kept", [0, 1, 3, "all but one epoch in the middle"])
def test_a_checkpoint_newer_than_its_record_is_trained_again_to_the_same_numbers(
    straight_and_short, tmp_path, digits, capsys, kept
):
    run = config(epochs=3)
    shutil.copytree(straight_and_short / "short", tmp_path / "lost")
    path = tmp_path / "lost" / run_id(run) / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(lines[:kept] if isinstance(kept, int) else [line for line in lines if b'"epoch":1,' not in line])
    )
    train(run, tmp_path / "lost", images=digits)
    assert "is trained again from the start" in capsys.readouterr().err

    def numbers(folder):
        lines = [comparable(line) for line in read(folder / run_id(run) / "records.jsonl")]
        return sorted(
            (line["event"], line["epoch"], str(line["metrics"])) for line in lines if line["event"] in ("epoch", "eval")
        )

    wanted = [one for one in numbers(straight_and_short / "straight") if one[1] != 2]
    assert [one for one in numbers(tmp_path / "lost") if one[1] != 2] == wanted  # epoch 2 was an end in one, so probed


def test_metrics_that_one_execution_only_measured_are_no_difference(tmp_path):
    path = tmp_path / "records.jsonl"
    RecordFile(path, COMMON).append("eval", {"live": 1.0, "probe": 2.0}, epoch=2, split="validation")
    again = RecordFile(path, COMMON)
    assert again.append("eval", {"live": 1.0}, epoch=2, split="validation")["differs"] is False
    assert again.append("eval", {"live": 1.5}, epoch=2, split="validation")["differs"] is True


# --- one writer


def test_a_second_process_on_a_run_is_refused_with_the_first_ones_name(tmp_path, digits):
    run = config(epochs=1)
    with (
        Lock(tmp_path / run_id(run) / ".lock", "{who}"),
        pytest.raises(UsageError, match=r"another process is training this run \(process \d+ on "),
    ):
        train(run, tmp_path, images=digits)
    assert not (tmp_path / run_id(run) / "records.jsonl").exists()


def test_evaluations_of_one_file_wait_for_each_other(tmp_path):
    path, line = tmp_path / "evaluation.jsonl", {**COMMON, "schema_version": 1, "event": "eval", "metrics": {}}
    writing = threading.Thread(target=evaluation_record.append_line, args=(path, line), daemon=True)
    with Lock(tmp_path / ".evaluation.jsonl.lock", "{who}"):
        writing.start()
        writing.join(0.3)
        assert writing.is_alive() and not path.exists()
    writing.join(10)
    assert not writing.is_alive() and [one["attempt"] for one in read(path)] == [1]


def test_a_file_system_without_locks_is_named_with_a_remedy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        RecordError,
        match=f"{tmp_path}/.lock: this file system refuses locks .*mount the share with locks.*studies doctor",
    ):
        Lock(tmp_path / ".lock", "{who}")


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    file = jsonl.Appender(tmp_path / "a.jsonl")
    file.append({"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jsonl.os, "fsync", full)
    with pytest.raises(OSError, match="a.jsonl"):
        file.append({"a": 2})
    with pytest.raises(OSError, match="b.json"):
        write_atomically(tmp_path / "b.json", b"1")
    assert list(read(tmp_path / "a.jsonl")) == [{"a": 1}] and not list(tmp_path.glob(".*.tmp"))


# --- versions, outputs, checkpoints, code


@pytest.mark.parametrize("version", [2, "1", None, "absent"])
def test_a_record_of_another_version_is_refused(tmp_path, version):
    path = tmp_path / "records.jsonl"
    RecordFile(path, COMMON).append("epoch", {}, epoch=1)
    new = (
        b""
        if version == "absent"
        else {2: b'"schema_version":2,', "1": b'"schema_version":"1",', None: b'"schema_version":null,'}[version]
    )
    path.write_bytes(path.read_bytes().replace(b'"schema_version":1,', new))
    before = path.read_bytes()
    with pytest.raises(
        RecordError, match=r"records.jsonl, line 1: schema_version = .* reads 1; read it with the code that wrote it"
    ):
        RecordFile(path, COMMON)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [2, "1", None])
def test_a_study_of_another_version_is_refused(tmp_path, version):
    for name in ("decisions.jsonl", "study.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "study.json").write_text(json.dumps({"study": "s", "epochs": 3, "schema_version": 1}))
        (folder / "decisions.jsonl").write_text(json.dumps({"event": "begin", "schema_version": 1}) + "\n")
        load(folder)
        (folder / name).write_text(
            json.dumps(json.loads((folder / name).read_text()) | {"schema_version": version}) + "\n"
        )
        words = f"{name}.*: schema_version = {version!r}, this version of the code reads 1; use the code that wrote it"
        with pytest.raises(UsageError, match=words):
            load(folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"event": "dance"}], "line 1: event = 'dance' is none of begin"),
        ([{"t": 1.0}], "line 1: has no event"),
        ([{"event": "stop", "trial": 0}], "line 1: a stop line of trial 0, which no suggest line before it introduced"),
        ([{"event": "suggest", "trial": 1}], "line 1: trial 1 is suggested, but trial 0 was not"),
        ([{"event": "suggest", "trial": 0}, {"event": "select", "trials": [3], "values": [1.0], "epochs": [2]}],
            "line 2: trial 3 is selected, but was never suggested"),
        ([{"event": "finish", "trial": 0}], "line 1: a finish line has no state"),
        ([{"event": "begin", "t": "x"}], "line 1: t = 'x'"),
    ],
)  # fmt: skip
def test_decisions_that_no_driver_could_have_written_are_refused_by_line(tmp_path, lines, words):
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises((UsageError, RecordError), match=f"decisions.jsonl, {re.escape(words)}"):
        read_decisions(tmp_path / "decisions.jsonl")


@pytest.mark.parametrize("content", ["{}", "[1, 2]", "17", '{"study": "s"}', '{"study": 3, "epochs": 3}'])
def test_a_study_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UsageError, match=r"study.json (is not a study's|must hold one JSON object).*restore"):
        load(tmp_path)


@pytest.mark.parametrize("raw", [b"[1,2]", b"17", b'"x"', b'{"a": NaN}', b'{"a": "\xff"}', b"{"], ids=repr)
def test_a_line_that_is_no_object_is_named_with_its_number(tmp_path, raw):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": 1}\n' + raw + b'\n{"a": 2}\n')
    with pytest.raises(RecordError, match=r"records.jsonl, line 2: (not valid JSON|not UTF-8|must be one JSON object)"):
        list(read(path))


def test_an_output_is_checked_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="--out .*: is a folder; give a file in it"):
        evaluation_record.check_out(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        evaluation_record.check_out(tmp_path / "file" / "e.jsonl")
    monkeypatch.setattr(evaluation_record.os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="is not writable; give another file with --out"):
        evaluation_record.check_out(tmp_path / "e.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_evaluation_begins_when_its_output_can_be_written(straight_and_short, tmp_path, monkeypatch, capsys):
    begun = []
    monkeypatch.setattr(evaluate, "measure", lambda *given: begun.append(given) or {"metrics": {}})
    (run,) = (straight_and_short / "straight").glob("*-s*")
    assert evaluate.main(["--checkpoint", str(run), "--out", str(tmp_path)]) == 2 and not begun
    assert f"--out {tmp_path}: is a folder" in capsys.readouterr().err


def test_a_file_that_is_no_runs_checkpoint_is_not_taken_for_a_folder(tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(b"PK")
    assert evaluate.main(["--checkpoint", str(tmp_path / "model.pt")]) == 2
    error = capsys.readouterr().err
    assert "a run's checkpoint is named checkpoint.pt and lies beside its records.jsonl" in error
    assert error.count("\n") == 1 and "model.pt/checkpoint.pt" not in error


GOOD = {"arm_id": "a", "probe_epoch": 0, "views": {"step": 0}, "method": {}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds one Tensor"),
        ([1], "holds one list"),
        ({}, "it has no arm_id"),
        ({**GOOD, "views": 3}, "views.step = NoneType"),
        ({**GOOD, "views": {"step": -1}}, "views.step = -1"),
        ({**GOOD, "probe_epoch": "x"}, "probe_epoch = 'x'"),
        ({name: GOOD[name] for name in ("arm_id", "probe_epoch", "views")}, "it has no method"),
        ({**GOOD, "arm_id": "b"}, "belongs to arm b"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_its_path(tmp_path, content, words):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(RecordError) as found:
        checkpoint.load(tmp_path, torch.device("cpu"), "a", ("method",))
    assert words in str(found.value) and str(tmp_path / "checkpoint.pt") in str(found.value)


def test_another_programs_archive_is_refused_without_torchs_own_warnings(tmp_path, recwarn):
    """torch takes it for a TorchScript archive, and says at length what it would do with it."""
    with zipfile.ZipFile(tmp_path / "checkpoint.pt", "w") as archive:
        for name, content in (("constants.pkl", b"\x80\x02)."), ("data.pkl", b"\x80\x02N."), ("version", b"3\n")):
            archive.writestr(f"model/{name}", content)
    with pytest.raises(RecordError, match=r"checkpoint.pt cannot be read .*; delete it") as found:
        checkpoint.load(tmp_path, torch.device("cpu"), "a")
    # of any other kind is what the collector finds of an earlier test
    assert "\n" not in str(found.value) and not [said for said in recwarn.list if said.category is UserWarning]


@pytest.mark.parametrize("state", [{}, {"weight": torch.zeros(3, 3), "bias": torch.zeros(3)}, {"weight": 3}, "x"])
def test_a_checkpoint_of_another_shape_is_refused_with_its_path(tmp_path, state):
    with pytest.raises(
        RecordError, match=f"{tmp_path}/checkpoint.pt does not fit this run: method: .*; delete it to train"
    ):
        checkpoint.restore(tmp_path, {"method": torch.nn.Linear(2, 2)}, {"method": state})


def test_where_git_names_no_commit_the_code_itself_is_compared(monkeypatch):
    monkeypatch.setattr(identity, "_git", lambda *_: (None, "detected dubious ownership in repository"))
    identity.provenance.cache_clear()
    try:
        now = identity.provenance()
        assert now["commit"] is None and now["code"] == identity.code_hash()
        assert "commit unknown (detected dubious ownership in repository)" in identity.unknown_commit()
        assert identity.other_code([{"provenance": now}, {}]) is None
        assert "recorded by code 0123" in identity.other_code([{"provenance": {**now, "code": "0123"}}])
        assert "recorded by code 0123" in identity.other_code([{"provenance": {"commit": "a" * 40, "code": "0123"}}])
    finally:
        identity.provenance.cache_clear()


# --- records of an earlier commit


def test_a_study_of_an_earlier_commit_gives_the_same_table(tmp_path):
    with tarfile.open(Path(__file__).parent / "recorded" / "study_of_30a56f8.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    study = load(tmp_path / "study")
    for name, frame in (("finals", study.finals), ("search", study.search)):
        wanted = pd.read_csv(tmp_path / "study" / f"{name}.csv")
        found = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
        pd.testing.assert_frame_equal(found[wanted.columns], wanted, check_dtype=False)


def test_a_study_of_an_earlier_commit_is_continued_and_taken_over(tmp_path):
    """It noted neither its reference's settings nor all that is declared today, and its trials are the arms that they
    were."""
    with tarfile.open(Path(__file__).parent / "recorded" / "study_of_30a56f8.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    def planned(*words):
        common = [
            "--results-dir",
            str(tmp_path),
            "--across-commits",
            "--epochs",
            "2",
            "--seeds",
            "0,1",
            "--num-trials",
            "2",
            "--top-k",
            "1",
            "--stopping",
            "none",
        ]
        return make_plan(parser(STUDY).parse_args([*common, *words]), STUDY)

    p = planned("--study", "study", "--resume")
    for _ in range(2):  # as it was written, and as the first continuation wrote it
        decisions = Decisions(p.folder)
        agree(p, lambda: verify(p, decisions, STUDY))
        decisions.close()
    warm_start.check(planned("--study", "new", "--warm-start", str(p.folder)), STUDY)
