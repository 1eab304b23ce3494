"""A study on a rented machine whose results go to a bucket: a lost machine, a closed laptop, a bucket that fails."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from test_vast_trip import STAND_IN, Trip, ended
from vast_emulator.bucket import NAME, SECRET, Bucket
from vast_emulator.laptop import ROOT
from vast_emulator.marks import rents_with_tmux
from vast_emulator.server import Emulator

pytestmark = rents_with_tmux
DECIDES = 'open(place / "decisions.jsonl", "a").write("{}\\n")\nwhile not'


@pytest.fixture(scope="module")
def bucket():
    with Bucket() as found:
        yield found


@pytest.fixture
def trip(bucket, request):
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    name = f"bucket{os.getpid()}"
    with Emulator(folder / "e", outside=(bucket.port,)) as emulator:
        trip = Trip(folder, emulator, name)
        trip.laptop.environment |= bucket.variables | {"STAND_IN": STAND_IN.replace("while not", DECIDES)}
        trip.prefix, trip.folder = request.node.name, folder
        yield trip
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(ROOT / "results" / name, ignore_errors=True)


def command(trip, *more):
    return trip.command("--bucket", f"s3://{NAME}/{trip.prefix}", *more)


def wait(true, seconds=60):
    deadline = time.time() + seconds
    while not true():
        assert time.time() < deadline
        time.sleep(0.1)


def secrets_in(trip):
    files = (file for file in trip.folder.rglob("*") if file.is_file() and not file.is_symlink())
    sent = json.dumps([body for *_, body in trip.emulator.requests])
    return [str(file) for file in files if SECRET.encode() in file.read_bytes()] + (["a request"] * (SECRET in sent))


def test_a_lost_machine_and_another_computer(trip, bucket):
    process = trip.laptop.start(*command(trip, "--checkpoints"))
    trip.until(process, lambda: "decisions.jsonl" in bucket.names(f"{trip.prefix}/"))
    assert secrets_in(trip) == []
    trip.emulator.preempt(trip.emulator.ledger.live()[0])
    code, said = ended(process)
    assert code == 4 and "continues on another one from the bucket" in said and SECRET not in said, said
    shutil.rmtree(trip.records.parent)  # this is another computer
    again = trip.laptop.run(*command(trip), code=2)
    assert "holds a study already" in again and len(trip.emulator.ledger.rentals) == 1  # told before it cost anything
    second = trip.laptop.start(*command(trip, "--resume"))
    trip.until(second, lambda: trip.records.exists() and trip.records.read_text() == "one\n")
    trip.go()
    code, said = ended(second)
    assert code == 0 and "on record ['decisions.jsonl']" in said and "read back and equal" in said, said
    assert "secrets []" in said and "0 instances left" in said and secrets_in(trip) == []
    assert bucket.read(f"{trip.prefix}/decisions.jsonl") == b"{}\n{}\n"
    assert trip.emulator.ledger.live() == [] and trip.emulator.ledger.most_at_once() == 1


def test_nobody_is_there_and_the_bucket_fails_for_a_while(trip, bucket):
    """The machine ends itself when the results are in the bucket, and not before."""
    code, said = ended(trip.laptop.start(*command(trip, "--detach")))
    assert code == 0 and "python -m clusters.bucket pull" in said, said
    wait(lambda: "decisions.jsonl" in bucket.names(f"{trip.prefix}/"))
    bucket.stop()
    trip.go()
    time.sleep(8)
    assert len(trip.emulator.ledger.live()) == 1
    bucket.start()
    wait(lambda: not trip.emulator.ledger.live(), 90)
    assert trip.emulator.ledger.ended_by() == ["instance 1001"]
    assert "decisions.jsonl" in bucket.names(f"{trip.prefix}/")


def test_what_is_wrong_with_a_bucket_is_told_before_anything_is_rented(trip):
    trip.prefix = "../elsewhere"
    assert "with a prefix of its own" in trip.laptop.run(*command(trip), code=2)
    said = trip.laptop.run(*trip.command("--bucket", "s3://no-such-bucket/x"), code=2)
    assert "there is no such bucket" in said and "Traceback" not in said
    assert "need --bucket" in trip.laptop.run(*trip.command("--detach"), code=2)
    del trip.laptop.environment["AWS_ACCESS_KEY_ID"]
    assert "AWS_ACCESS_KEY_ID is not set" in trip.laptop.run(*command(trip), code=2)
    assert trip.emulator.ledger.rentals == {}
