"""Records are durable, repaired when torn, never doubled, and say null where a number is not finite."""

import json

import pytest

from trainer.errors import RecordError
from trainer.record import run_lines as record_lines
from trainer.record.run import RecordFile, comparable, read, write_atomically

COMMON = {"study": "s", "run_id": "r-s0", "arm_id": "r", "seed": 0}


def lines(path):
    return list(read(path))


def test_a_torn_last_line_is_cut_off_and_reported(tmp_path):
    path = tmp_path / "records.jsonl"
    file = RecordFile(path, COMMON)
    file.append("epoch", {"a": 1.0}, epoch=1)
    file.close()
    with path.open("ab") as raw:
        raw.write(b'{"event":"epoch","metr')
    assert len(lines(path)) == 1
    again = RecordFile(path, COMMON)
    assert again.repaired == '{"event":"epoch","metr' and again.attempt == 2
    again.append("epoch", {"a": 2.0}, epoch=2)
    assert [line["epoch"] for line in lines(path)] == [1, 2]


def test_damage_elsewhere_is_an_error_not_a_gap(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"event":"epoch"}\nrubbish\n{"event":"epoch"}\n')
    with pytest.raises(ValueError, match="line 2"):
        lines(path)


LINE = {"schema_version": 1, "event": "eval", "run_id": "r-s0", "arm_id": "r", "seed": 0, "epoch": 1}


@pytest.mark.parametrize(
    "text",
    [
        '"metrics": {"a": 0.1, "b": null, "c": 3, "e": 123456789012345678901.0}, "more": [{"x": "é\\ud83d"}]',
        '"metrics": {"a": 1e999}',
        '"metrics": {"a": NaN}',
        '"metrics": {}, "more": Infinity',
        '"metrics": {"a": "1.0"}',
        '"metrics": {"a": true}',
        '"metrics": {"a": 1}, "metrics": {"a": 2}',
        '"metrics": {}, "schema_version": 2',
        '"metrics": {}, "event": "stop"',
        '"metrics": {}, "seed": 1.0',
        '"metrics": {}, "seed": 123456789012345678901234567890',
        '"metrics": {}, "more": ' + "[" * 300 + "]" * 300,
        '"metrics": {}, \x00',
    ],
)
def test_a_line_read_in_one_pass_is_the_line_read_step_by_step(text, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(LINE)[:-1] + ", " + text + "}\n", encoding="utf-8")
    raw = path.read_bytes().strip()
    try:
        slow = record_lines._step_by_step(path, 1, raw)
    except RecordError as error:
        assert record_lines._at_once(raw) is None
        with pytest.raises(RecordError) as raised:
            list(record_lines.read_run(path))
        assert str(raised.value) == str(error)
    else:
        assert list(record_lines.read_run(path)) == [slow]


def test_ordinary_lines_are_read_in_one_pass(monkeypatch, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(LINE | {"metrics": {"a": 1.0, "b": None}, "seconds": {"train": 0.5}}) + "\n")
    monkeypatch.setattr(record_lines, "_step_by_step", None)
    assert next(record_lines.read_run(path))["metrics"] == {"a": 1.0, "b": None}


def test_an_epoch_trained_again_is_not_written_twice(tmp_path):
    path = tmp_path / "records.jsonl"
    RecordFile(path, COMMON).append("eval", {"a": 1.0}, epoch=1, split="validation")
    again = RecordFile(path, COMMON)
    assert again.append("eval", {"a": 1.0}, epoch=1, split="validation")["differs"] is False
    assert again.append("eval", {"a": 1.5}, epoch=1, split="validation")["differs"] is True
    assert len(lines(path)) == 1 and lines(path)[0]["metrics"] == {"a": 1.0}


def test_not_finite_is_null_and_the_file_is_strict_json(tmp_path):
    path = tmp_path / "records.jsonl"
    RecordFile(path, COMMON).append("epoch", {"a": float("nan"), "b": float("inf"), "c": 0.0}, epoch=1)
    assert lines(path)[0]["metrics"] == {"a": None, "b": None, "c": 0.0}
    assert "NaN" not in path.read_text()


def test_an_unknown_event_is_refused(tmp_path):
    with pytest.raises(ValueError, match="epock"):
        RecordFile(tmp_path / "r.jsonl", COMMON).append("epock")


def test_what_may_differ_is_excluded_by_the_schema():
    line = {"event": "epoch", "metrics": {"a": 1}, "attempt": 2, "seconds": {}, "core_seconds": {}, "provenance": {}}
    assert comparable(line) == {"event": "epoch", "metrics": {"a": 1}}


def test_atomic_writes_replace(tmp_path):
    path = tmp_path / "x.json"
    write_atomically(path, b"1")
    write_atomically(path, json.dumps([2]).encode())
    assert path.read_text() == "[2]" and [p.name for p in tmp_path.iterdir()] == ["x.json"]
