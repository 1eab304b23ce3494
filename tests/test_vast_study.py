"""One command: a machine is rented, a study runs on it, its records come home, the machine is given back."""

import json
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from vast_emulator.bucket import NAME, SECRET, Bucket
from vast_emulator.laptop import ROOT, Laptop
from vast_emulator.marks import rents_with_tmux
from vast_emulator.server import Emulator

pytestmark = rents_with_tmux
SMALL = "--quick --num-trials 2 --epochs 1 --stopping none --seeds 1 --wandb off --deterministic".split()


@pytest.fixture
def place():
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    name = f"trip{os.getpid()}"
    yield folder, name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(ROOT / "results" / name, ignore_errors=True)


def command(laptop, name, *more):
    words = ["python", "-m", "clusters.vast", "study", "studies/step2_rate.py", *SMALL, "--study", name]
    words += ["--config", str(laptop.yaml), "--max-usd", "2", "--yes", "--poll-seconds", "1"]
    return [*words, *more]


def comparable(laptop, folder):
    """The table of a report that is made from the records alone."""
    said = laptop.run("python", "-m", "analysis", str(folder))
    return said[said.index("Linear accuracy") : said.index("Report:")]


@pytest.mark.parametrize("records", ["at home", "in a bucket"])
def test_a_lost_machine_does_not_change_the_table(place, records):
    """The host takes the machine away in the middle; with --resume another is rented, and the table is the same.

    In the second case nothing is at home any more either.
    """
    folder, name = place
    with ExitStack() as stack:
        bucket = stack.enter_context(Bucket()) if records == "in a bucket" else None
        emulator = stack.enter_context(Emulator(folder / "e", outside=(bucket.port,) if bucket else ()))
        laptop = Laptop(folder / "l", emulator)
        laptop.environment |= bucket.variables if bucket else {}
        more = ["--bucket", f"s3://{NAME}/{name}", "--checkpoints"] if bucket else []
        first = laptop.start(*command(laptop, name, *more))
        decisions = ROOT / "results" / name / "decisions.jsonl"
        deadline = time.time() + 200
        while not (decisions.exists() and '"finish"' in decisions.read_text()):
            if first.poll() is not None or time.time() > deadline:
                raise AssertionError(laptop.end(first))
            time.sleep(0.2)
        (lost,) = emulator.ledger.live()
        emulator.preempt(lost)
        said, _ = first.communicate(timeout=60)
        assert first.returncode == 4 and "--resume continues" in said and "0 instances left" in said, said
        if bucket:
            shutil.rmtree(ROOT / "results" / name)  # another computer goes on
        kept = bucket.read(f"{name}/decisions.jsonl").decode() if bucket else decisions.read_text()
        before = [json.loads(line) for line in kept.splitlines() if line.endswith("}")]
        said = laptop.run(*command(laptop, name, *more, "--resume"), seconds=300)
        assert ("read back and equal" in said) == bool(bucket) and SECRET not in said
        assert "z_agg" in said and "0 instances left" in said, said
        after = [json.loads(line) for line in decisions.read_text().splitlines()]
        assert after[: len(before)] == before  # what had come home was continued, not repeated
        assert [line["usd_per_hour"] for line in after if line["event"] == "begin"] == [0.4, 0.4]
        assert emulator.ledger.live() == [] and emulator.ledger.most_at_once() == 1
        assert {rental.body["env"]["STUDY_MONEY_SECONDS"] for rental in emulator.ledger.rentals.values()} == {"18000"}
        here = folder / "here"
        laptop.run(
            "python", str(ROOT / "studies" / "step2_rate.py"), *SMALL, "--study", name, "--results-dir", str(here)
        )
        assert comparable(laptop, here / name) == comparable(laptop, ROOT / "results" / name)
