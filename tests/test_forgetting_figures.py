"""Figures of streams are made of what runs recorded."""

import json

import pytest

from analysis import forgetting
from trainer.errors import UsageError


def record(folder, run, arm, epochs=3, segments=2, seed=0):
    path = folder / "runs" / run / "records.jsonl"
    path.parent.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        row = {f"linacc.seg{i}/z_agg@3": 10.0 * epoch + i for i in range(1, segments + 1)}
        one = {"schema_version": 1, "event": "eval", "epoch": epoch, "arm_id": arm, "run_id": run, "metrics": row}
        one["seed"] = seed
        lines.append(json.dumps(one))
    path.write_text("\n".join(lines) + "\n")


def test_the_matrix_is_that_of_the_record_and_interrupted_streams_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "_labels", lambda study: {"a": "replay", "b": "nothing"})
    monkeypatch.setattr(forgetting, "_seeds", lambda study: [0, 1, 2])
    record(tmp_path, "a-s1000", "a", seed=1000)  # chose the arm
    for seed in range(3):
        record(tmp_path, f"a-s{seed}", "a")
        record(tmp_path, f"b-s{seed}", "b", epochs=2 if seed == 0 else 3)
    record(tmp_path, "c-s0", "c")  # of a search
    found = forgetting.matrices(tmp_path)
    assert {name: len(runs) for name, runs in found.items()} == {"replay": 3, "nothing": 2}
    assert found["replay"][0].tolist() == [[11.0, 12.0], [21.0, 22.0]]
    paths = forgetting.render(tmp_path, tmp_path / "figures")
    assert [path.name for path in paths] == ["forgetting.png", "anytime.png"] and all(p.stat().st_size for p in paths)


def test_a_folder_without_streams_is_refused_in_one_line(tmp_path, capsys):
    assert forgetting.main([str(tmp_path), str(tmp_path)]) == 2
    assert "is no study's folder" in capsys.readouterr().err
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(UsageError):
        forgetting.matrices(tmp_path)
