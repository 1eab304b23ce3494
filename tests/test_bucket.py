"""Results in a bucket: the copy is at every moment one from which the study can go on, and never replaces another's."""

import signal
import subprocess
import sys
import time

import pytest
from vast_emulator.bucket import NAME, SECRET, Bucket

from clusters.bucket import __main__ as command
from clusters.bucket.fetch import fetched
from clusters.bucket.store import BucketError, Store, Unreachable, checked, environment
from clusters.bucket.upload import Upload

pytestmark = pytest.mark.heavy
STAND_IN = """
import os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
(place / "runs" / "a-s0").mkdir(parents=True, exist_ok=True)
print("knows", sorted(name for name in os.environ if name.startswith("AWS_")), flush=True)
print("found", sorted(p.name for p in place.rglob("*.jsonl")), flush=True)
(place / "study.json").write_text("{}")
with (place / "decisions.jsonl").open("a") as decisions, (place / "runs/a-s0/records.jsonl").open("a") as records:
    records.write('{"epoch": 1}\\n'); decisions.write('{"event": "finish"}\\n'); decisions.flush(); records.flush()
    (place / "runs/a-s0/checkpoint.pt").write_bytes(b"weights")
    while not (place / "go").exists():
        time.sleep(0.05)
    records.write('{"epoch": 2}\\n')
sys.exit(int((place / "go").read_text()))
"""


@pytest.fixture(scope="module")
def bucket():
    with Bucket() as found:
        yield found


@pytest.fixture
def address(bucket, monkeypatch, request):
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    return f"s3://{NAME}/{request.node.name.translate(str.maketrans('[] ', '---'))}"


def study(folder, decisions=1, epochs=1):
    (folder / "runs" / "a-s0").mkdir(parents=True, exist_ok=True)
    (folder / "report").mkdir(exist_ok=True)
    (folder / "study.json").write_text('{"name": "demo"}')
    (folder / "decisions.jsonl").write_text("".join(f'{{"decision": {i}}}\n' for i in range(decisions)))
    (folder / "runs/a-s0/records.jsonl").write_text("".join(f'{{"epoch": {i}}}\n' for i in range(epochs)))
    (folder / "runs/a-s0/checkpoint.pt").write_bytes(b"w" * epochs)
    (folder / "report/table.md").write_text("table")
    (folder / "optuna.db").write_text("never sent")
    (folder / ".lock").write_text("never sent")
    return folder


def prefix(address):
    return address.removeprefix(f"s3://{NAME}/") + "/"


def test_only_what_is_new_is_sent_and_only_records(bucket, address, tmp_path):
    upload = Upload(study(tmp_path), Store(address))
    expected = ["study.json", "report/table.md", "runs/a-s0/records.jsonl", "decisions.jsonl"]
    assert upload.once() == expected and upload.once() == [] and upload.differences() == []
    assert sorted(bucket.names(prefix(address))) == sorted(expected)
    study(tmp_path, epochs=2)
    assert "runs/a-s0/records.jsonl" in upload.once() and "decisions.jsonl" not in upload.once()
    with_weights = Upload(tmp_path, Store(address), checkpoints=True)
    assert with_weights.once()[:3] == ["study.json", "runs/a-s0/checkpoint.pt", "report/table.md"]


def test_a_line_that_is_being_written_waits(bucket, address, tmp_path):
    file = study(tmp_path) / "decisions.jsonl"
    with file.open("a") as decisions:
        decisions.write('{"decis')
    Upload(tmp_path, Store(address)).once()
    assert bucket.read(f"{prefix(address)}decisions.jsonl") == b'{"decision": 0}\n'


def test_no_decision_is_ahead_of_the_records(address, tmp_path, monkeypatch):
    """While records are sent the study goes on: the decisions that are sent are those from before."""
    upload, store = Upload(study(tmp_path), Store(address), checkpoints=True), Store(address)
    write, order = Store.write, []

    def grows(self, name, data):
        order.append(name)
        study(tmp_path, decisions=5, epochs=5)
        write(self, name, data)

    monkeypatch.setattr(Store, "write", grows)
    upload.once()
    assert order[-1] == "decisions.jsonl" and store.read("decisions.jsonl").count(b"\n") == 1
    assert order.index("runs/a-s0/checkpoint.pt") < order.index("runs/a-s0/records.jsonl")
    upload.once()
    assert store.read("decisions.jsonl").count(b"\n") == 5 and upload.differences() == []


def test_another_study_a_copy_that_is_ahead_and_another_writer_are_refused(address, tmp_path):
    Upload(study(tmp_path / "a", decisions=3), Store(address)).once()
    before = Store(address).read("decisions.jsonl")
    with pytest.raises(BucketError, match="is ahead of"):
        Upload(study(tmp_path / "behind", decisions=2), Store(address)).once()
    other = study(tmp_path / "other")
    (other / "decisions.jsonl").write_text('{"decision": "another"}\n' * 9)
    with pytest.raises(BucketError, match="of another study"):
        Upload(other, Store(address)).once()
    assert Store(address).read("decisions.jsonl") == before
    first, second = (Upload(tmp_path / "a", Store(address)) for _ in range(2))
    first.once(), second.once()
    study(tmp_path / "a", decisions=4)
    first.once()
    study(tmp_path / "a", decisions=5)
    with pytest.raises(BucketError, match="another writer"):
        second.once()
    study(tmp_path / "a", decisions=1)
    with pytest.raises(BucketError, match="has become shorter"):
        first.once()


def test_a_study_comes_back_and_the_longer_copy_wins(address, tmp_path):
    store = Store(address)
    Upload(study(tmp_path / "a", decisions=3, epochs=3), store, checkpoints=True).once()
    new = tmp_path / "new"
    assert fetched(store, new)[-1] == "decisions.jsonl" and not (new / "report").exists()
    for name in ("study.json", "decisions.jsonl", "runs/a-s0/records.jsonl", "runs/a-s0/checkpoint.pt"):
        assert (new / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert fetched(store, new) == []
    study(new, decisions=4, epochs=2)  # ahead in one file, behind in another, its last line torn
    with (new / "runs/a-s0/records.jsonl").open("a") as records:
        records.write('{"ep')
    assert fetched(store, new) == ["runs/a-s0/checkpoint.pt", "runs/a-s0/records.jsonl"]
    assert (new / "decisions.jsonl").read_text().count("\n") == 4
    assert (new / "runs/a-s0/checkpoint.pt").read_bytes() == b"www"
    (new / "decisions.jsonl").write_text('{"decision": "another"}\n')
    with pytest.raises(BucketError, match="of different studies"):
        fetched(store, new)


def test_names_of_others_are_neither_fetched_nor_followed_out_of_the_folder(bucket, address, tmp_path):
    for name in ("runs/../../escape/records.jsonl", "runs/..x/records.jsonl", "notes.txt", "runs/a/model.pt"):
        bucket.client.put_object(Bucket=NAME, Key=prefix(address) + name, Body=b"x")
    assert fetched(Store(address), tmp_path / "in") == [] and not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("s3://id:secret@studies/x", "holds no credentials"),
        ("s3://studies/x?secret_key=abc", "holds no credentials"),
        ("s3://studies", "with a prefix of its own"),
        ("/results", "with a prefix of its own"),
        ("s3://studies/../other", "with a prefix of its own"),
    ],
)
def test_wrong_addresses_are_one_line(wrong, said):
    with pytest.raises(BucketError, match=said) as error:
        checked(wrong)
    assert "abc" not in str(error.value) and "id:secret" not in str(error.value)


def test_a_missing_bucket_no_key_and_no_answer_say_what_to_do(address, monkeypatch, tmp_path):
    with pytest.raises(BucketError, match="there is no such bucket"):
        Store("s3://no-such-bucket/x").ready()
    with pytest.raises(BucketError, match="AWS_SECRET_ACCESS_KEY is not set"):
        environment({"AWS_ACCESS_KEY_ID": "id"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unreachable, match="check the network"):
        Upload(study(tmp_path), Store(address)).once()


def begun(folder, address, *options, words=(), every="0.1"):
    (folder.parent / "stand_in.py").write_text(STAND_IN)
    line = [sys.executable, "-m", "clusters.bucket", "run", address, str(folder), "--every", every, *options, "--"]
    line += [sys.executable, str(folder.parent / "stand_in.py"), str(folder), *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(true, process):
    deadline = time.time() + 60
    while not true():
        assert process.poll() is None and time.time() < deadline, process.communicate()[0]
        time.sleep(0.05)


def test_a_study_is_followed_and_goes_on_elsewhere(bucket, address, tmp_path):
    first = begun(tmp_path / "one", address)
    until(lambda: "decisions.jsonl" in bucket.names(prefix(address)), first)  # while it runs
    first.send_signal(signal.SIGTERM)  # as a machine that is going down
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 143, said
    assert "knows" in said and "'AWS_ENDPOINT_URL'" in said and "KEY" not in said and SECRET not in said
    again = begun(tmp_path / "two", address)
    assert again.communicate(timeout=60)[0].count("holds a study already") == 1 and again.returncode == 2
    (tmp_path / "two").mkdir(exist_ok=True)
    (tmp_path / "two" / "go").write_text("3")
    second = begun(tmp_path / "two", address, words=["--resume"])
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 3 and "3 files fetched" in said and "read back and equal" in said, said
    assert "found ['decisions.jsonl', 'records.jsonl']" in said
    assert bucket.read(f"{prefix(address)}decisions.jsonl").count(b"\n") == 2


def test_a_bucket_that_fails_delays_nothing_and_is_tried_again(bucket, address, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    process = begun(tmp_path / "one", address, "--patience-minutes", "1")
    until(lambda: "decisions.jsonl" in bucket.names(prefix(address)), process)
    bucket.stop()
    (tmp_path / "one" / "go").write_text("0")
    while "not uploaded" not in process.stdout.readline():
        assert process.poll() is None
    bucket.start()
    said = process.communicate(timeout=90)[0]
    assert process.returncode == 0 and "uploaded again" in said and "read back and equal" in said, said
    assert bucket.read(f"{prefix(address)}runs/a-s0/records.jsonl").count(b"\n") == 2


def test_a_machine_is_not_ended_before_its_results_are_safe(bucket, address, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = begun(tmp_path / "one", address, "--end-machine")
    assert "is not here" in refused.communicate(timeout=60)[0] and refused.returncode == 2
    (tmp_path / ".study").mkdir()
    (tmp_path / ".study" / "end").write_text("touch ~/ended\n")
    first = begun(tmp_path / "one", address, "--end-machine")
    until(lambda: "decisions.jsonl" in bucket.names(prefix(address)), first)
    theirs = prefix(address) + "runs/a-s0/records.jsonl"
    bucket.client.put_object(Bucket=NAME, Key=theirs, Body=b"of another machine")
    (tmp_path / "one" / "go").write_text("0")
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 1 and "another writer" in said and not (tmp_path / "ended").exists(), said
    assert bucket.read(theirs) == b"of another machine" and "send them with: python -m clusters.bucket push" in said
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "go").write_text("0")
    said = begun(tmp_path / "two", f"{address}-2", "--end-machine").communicate(timeout=60)[0]
    assert "this machine is deleted now" in said and (tmp_path / "ended").exists(), said


def test_mistakes_of_the_command_line_are_one_line(address, tmp_path, capsys):
    for words, said in (
        (["run", address, str(tmp_path)], "give the study's command after --"),
        (["run", address, str(tmp_path), "--every", "0", "--", "true"], "--every must be"),
        (["push", address, str(tmp_path)], "is no study's folder"),
        (["pull", address, str(tmp_path)], "there is no study at this address"),
        (["run", address, str(tmp_path), "--", "no-such-program"], "no-such-program cannot be started"),
        (["pusch"], "did you mean push"),
    ):
        assert command.main(words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
