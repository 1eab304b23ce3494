"""A study killed at any durable write, and continued, is the study that was not killed."""

import json
import random
from collections import Counter

import kill_engine
import pytest

from analysis.recorded.study import load
from analysis.statistics.comparison_table import comparison_table
from studies.engine.decisions import comparable
from trainer.record.run import comparable as comparable_line
from trainer.record.run import read

POINTS = 60  # per mode; both modes together are 120
PASSING = ("begin", "session", "start", "tick")


def decided(folder):
    """Every decision by what it is about; the order between trials is nobody's promise."""
    found = {}
    for line in read(folder / "decisions.jsonl"):
        if line["event"] not in PASSING:
            key = (
                line["event"],
                line.get("name") or line.get("teacher"),
                line.get("role"),
                line.get("rung"),
                line.get("arm_id"),
            )
            assert key not in found or line["event"] == "compare", f"decided twice: {line}"
            found[key] = comparable(line)
    return found


def records(folder):
    """Comparable lines of every run, resume events aside, with each epoch once."""
    found = {}
    for path in (folder / "runs").glob("*/records.jsonl"):
        lines = [comparable_line(line) for line in read(path) if line["event"] != "resume"]
        epochs = [line["epoch"] for line in lines if line["event"] == "epoch"]
        assert epochs == list(range(1, len(epochs) + 1)), (path, epochs)
        found[path.parent.name] = lines
    return found


def table(folder):
    return comparison_table(load(folder)).drop(columns=["device_seconds", "usd"], errors="ignore").to_csv(index=False)


def again(folder, reference):
    """Epochs trained more often than in the uninterrupted study, by run."""
    counts = [Counter((place / "ledger").read_text().split("\n")[:-1]) for place in (folder, reference)]
    return counts[0] - counts[1]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The uninterrupted study in both modes, and its number of durable operations."""
    found = {}
    for lag in (0, 3):
        folder = tmp_path_factory.mktemp("straight") / f"lag{lag}"
        found[lag] = folder, kill_engine.run(folder, lag)
    return found


def test_the_study_has_every_kind_of_end(straight):
    states = Counter(line["state"] for line in read(straight[3][0] / "decisions.jsonl") if line["event"] == "finish")
    assert states["complete"] > 8 and states["pruned"] >= 2 and states["collapsed"] + states["diverged"] >= 2, states
    assert straight[3][1] > 500


@pytest.mark.parametrize("part", range(4))
def test_deterministic_mode_gives_the_same_table_wherever_it_is_killed(straight, tmp_path, part):
    """At each point: the same decisions, records and table; no epoch lost or doubled on record, at most one per live
    trial trained again."""
    reference, operations = straight[3]
    wanted = decided(reference), records(reference)
    numbers = random.Random(part)
    for point in range(POINTS // 4):
        at, torn = numbers.randrange(operations), bool(point % 2)
        folder = tmp_path / str(point)
        assert kill_engine.in_child(folder, 3, kill_at=at, torn=torn) == -9
        # whoever is slow after the kill, the table must not notice
        assert kill_engine.in_child(folder, 3, slow=point % 3) == 0
        assert (
            decided(folder),
            records(folder),
        ) == wanted, f"killed at operation {at}{' within a write' if torn else ''}"
        repeated = again(folder, reference)
        assert sum(repeated.values()) <= kill_engine.WORKERS and all(count == 1 for count in repeated.values()), (
            repeated
        )
    assert table(folder) == table(reference)  # made from the above alone, and slow to make


def test_deterministic_mode_survives_many_kills_in_one_study(straight, tmp_path):
    reference, operations = straight[3]
    numbers, kills = random.Random(9), 0
    while (
        kill_engine.in_child(tmp_path / "s", 3, kill_at=numbers.randrange(operations // 6), torn=bool(kills % 2)) == -9
    ):
        kills += 1
    folder = tmp_path / "s"
    assert kills >= 5
    assert (decided(folder), records(folder), table(folder)) == (
        decided(reference),
        records(reference),
        table(reference),
    )
    assert sum(again(folder, reference).values()) <= kill_engine.WORKERS * kills


ARRIVING = ("rung", "promote")


def settled(folder):
    """As :func:`decided`, without what tells at a gate who came last."""
    return {key: line for key, line in decided(folder).items() if key[0] not in ARRIVING}


def test_gates_and_a_race_give_the_same_table_wherever_they_are_killed(tmp_path):
    """The usual rule and protocol: trials that wait go on from their checkpoints, whoever arrives first or last."""
    reference, numbers = tmp_path / "straight", random.Random(5)
    operations = kill_engine.run(reference, 3, race=1)
    wanted = settled(reference), records(reference)
    lines = list(read(reference / "decisions.jsonl"))
    assert sum(line["event"] == "promote" for line in lines) >= 3
    assert any(line["event"] == "race" for line in lines)
    for point in range(12):
        folder, at = tmp_path / str(point), numbers.randrange(operations)
        assert kill_engine.in_child(folder, 3, kill_at=at, torn=bool(point % 2), race=1) == -9
        assert kill_engine.in_child(folder, 3, slow=point % 3, race=1) == 0
        assert (settled(folder), records(folder)) == wanted, f"killed at operation {at}"
        repeated = again(folder, reference)
        assert sum(repeated.values()) <= kill_engine.WORKERS and all(count == 1 for count in repeated.values())
    assert table(folder) == table(reference)


@pytest.mark.parametrize("slow", [1, 2, 3])
def test_deterministic_mode_does_not_depend_on_who_is_slow(straight, tmp_path, slow):
    kill_engine.run(tmp_path / "s", 3, slow=slow)
    assert (decided(tmp_path / "s"), table(tmp_path / "s")) == (decided(straight[3][0]), table(straight[3][0]))


def test_default_mode_does_depend_on_it(straight, tmp_path):
    """Or the test above would show nothing."""
    found = []
    for slow in (1, 2, 3):
        kill_engine.run(tmp_path / str(slow), 0, slow=slow)
        found.append(decided(tmp_path / str(slow)))
    assert any(decisions != decided(straight[0][0]) for decisions in found)


@pytest.mark.parametrize("part", range(4))
def test_default_mode_completes_wherever_it_is_killed(straight, tmp_path, part):
    """Asynchronous: other decisions may be right after a kill, but each follows from the record, and nothing is lost or
    doubled."""
    operations = straight[0][1]
    numbers = random.Random(100 + part)
    for point in range(POINTS // 4):
        at, torn = numbers.randrange(operations), bool(point % 2)
        folder = tmp_path / str(point)
        assert kill_engine.in_child(folder, 0, kill_at=at, torn=torn) == -9
        before = decided(folder)
        assert kill_engine.in_child(folder, 0) == 0
        after = decided(folder)
        assert all(after[key] == line for key, line in before.items()), (
            f"killed at operation {at}: a decision was changed"
        )
        records(folder)  # asserts that epochs are complete and single
        follows_from_the_record(folder)
        repeated = Counter((folder / "ledger").read_text().split("\n")[:-1])
        assert sum(count - 1 for count in repeated.values()) <= kill_engine.WORKERS, repeated


def follows_from_the_record(folder):
    """Every rung decision is what the rule gives for the values on record before it, and the values are the runs'."""
    lines = list(read(folder / "decisions.jsonl"))
    runs = {line["name"]: line["run_id"] for line in lines if line["event"] == "suggest"}
    there = {}
    for line in lines:
        if line["event"] != "rung":
            continue
        evals = {
            e["epoch"]: e["metrics"]
            for e in read(folder / "runs" / runs[line["name"]] / "records.jsonl")
            if e["event"] == "eval"
        }
        assert line["value"] == next(value for name, value in evals[line["rung"]].items() if name.startswith("linacc"))
        values = there.setdefault((line["bracket"], line["rung"]), [])
        values.append(line["value"])
        better = sum(value > line["value"] for value in values)
        assert line["peers"] == len(values) and line["stop"] == (better >= max(1, len(values) // 3))


def test_same_decisions_for_the_same_record(straight, tmp_path):
    """Default mode's promise: a driver that finds the first lines of a record goes on as the one that wrote them."""
    reference, _ = straight[0]
    lines = (reference / "decisions.jsonl").read_text().splitlines(keepends=True)
    checked = Counter()
    for number, text in enumerate(lines):
        line = json.loads(text)
        if line["event"] not in ("suggest", "rung"):
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "decisions.jsonl").write_text("".join(lines[:number]))
        jobs = kill_engine.Jobs(kill_engine.make_plan(folder, 0), kill_engine.Decisions(folder), kill_engine.STUDY)
        if line["event"] == "suggest":
            job = jobs.search.next()
        else:
            job = jobs.search.trials[line["trial"]]
            report = {
                "epoch": line["epoch"],
                "score": line["value"],
                "probe_epoch": line["epoch"],
                "rank": line.get("rank", 9.0),
            }
            jobs.search.report(job, kill_engine.Seen.of(report))
        jobs.decisions.close()
        made = next(event for event in jobs.decisions.of(line["event"]) if event["name"] == line["name"])
        assert comparable(made) == comparable(line)
        checked[line["event"]] += 1
    assert checked["suggest"] == 12 and checked["rung"] >= 8 and jobs.search.model_based >= 1
