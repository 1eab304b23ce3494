"""Figures of streams, and how soon they learn, are made of what runs recorded."""

import json
import math

import pytest
from test_analysis import Builder

import analysis
from analysis.__main__ import main
from analysis.figures import forgetting
from analysis.tables.threshold import samples_to, threshold_sheet
from trainer.errors import UsageError


def record(folder, run, arm, epochs=3, segments=2, seed=0):
    path = folder / "runs" / run / "records.jsonl"
    path.parent.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        row = {f"linacc.seg{i}/z_agg@3": 10.0 * epoch + i for i in range(1, segments + 1)}
        row |= {f"r2_action.none.seg{i}/z_pair@2": 0.1 * epoch - i / 100 for i in range(1, segments + 1)}
        row |= {f"rank_pr.seg{i}/z_agg@3": 2.0 + epoch for i in range(1, segments + 1)}
        row |= {f"cka.seg{i}/z_1@1": 1.0 for i in range(1, epoch + 1)}
        one = {"schema_version": 1, "event": "eval", "epoch": epoch, "arm_id": arm, "run_id": run, "metrics": row}
        one["seed"] = seed
        lines.append(json.dumps(one))
    path.write_text("\n".join(lines) + "\n")


def test_the_matrix_is_that_of_the_record_and_interrupted_streams_are_left_out(tmp_path, monkeypatch, capsys):
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
    for words, folder in (([], "report"), (["--out", str(tmp_path / "figures")], "figures")):
        assert main(["forgetting", str(tmp_path), *words]) == 0
        paths = [tmp_path / folder / name for name in ("forgetting.png", "anytime.png")]
        assert capsys.readouterr().out.split() == [str(path) for path in paths] and all(p.stat().st_size for p in paths)


def test_other_metrics_than_accuracy_have_their_own_scale_and_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forgetting, "_labels", lambda study: {"a": "replay"})
    monkeypatch.setattr(forgetting, "_seeds", lambda study: [0])
    record(tmp_path, "a-s0", "a")
    for metric, ends, first in (
        ("linacc/z_agg", (0, 100), "11"),
        ("r2_action.none/z_pair", (0, 1), "0.09"),
        ("r2_action.none/z_pair@2", (0, 1), "0.09"),
        ("rank_pr/z_agg", (3, 4), "3.0"),
    ):
        panel = forgetting.heat_map(forgetting.matrices(tmp_path, metric), metric).axes[0]
        assert panel.images[0].get_clim() == ends and panel.texts[0].get_text().startswith(first)
    assert main(["forgetting", str(tmp_path), "--metric", "rank_pr/z_agg"]) == 0
    names = [path.name for path in sorted((tmp_path / "report").iterdir())]
    assert names == ["anytime-rank_pr-z_agg.png", "forgetting-rank_pr-z_agg.png"] and capsys.readouterr().out
    assert main(["forgetting", str(tmp_path), "--metric", "accuracy"]) == 2
    assert "one of those on record: linacc/z_agg, r2_action.none/z_pair, rank_pr/z_agg" in capsys.readouterr().err


def test_arms_are_in_the_studys_order_and_twenty_segments_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "_labels", lambda study: {"z": "first", "b": "second"})
    monkeypatch.setattr(forgetting, "_seeds", lambda study: [0])
    record(tmp_path, "z-s0", "z", epochs=21, segments=20)
    record(tmp_path, "b-s0", "b", epochs=21, segments=20)
    found = forgetting.matrices(tmp_path)
    assert list(found) == ["first", "second"]
    figure = forgetting.heat_map(found)
    figure.draw_without_rendering()
    panel, renderer = figure.axes[0], figure.canvas.get_renderer()
    cell = panel.get_window_extent(renderer).width / 20
    assert all(text.get_window_extent(renderer).width < 1.3 * cell for text in panel.texts if len(text.get_text()) < 3)
    # one panel is the narrowest figure: nothing of the colour bar's label is cut off
    alone = forgetting.heat_map({"first": found["first"]})
    alone.draw_without_rendering()
    label = alone.axes[-1].yaxis.label.get_window_extent(alone.canvas.get_renderer())
    assert 0 <= label.y0 and label.y1 <= alone.bbox.height


def test_a_stationary_stream_has_no_such_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "_labels", lambda study: {"a": "all of it"})
    monkeypatch.setattr(forgetting, "_seeds", lambda study: [0])
    record(tmp_path, "a-s0", "a", epochs=2, segments=1)
    with pytest.raises(UsageError, match="have one segment, of which nothing is forgotten"):
        forgetting.matrices(tmp_path)


def test_a_folder_without_streams_is_refused_in_one_line(tmp_path, capsys):
    assert main(["forgetting", str(tmp_path)]) == 2
    assert "is no study's folder" in capsys.readouterr().err
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(UsageError):
        forgetting.matrices(tmp_path)


def checks(folder, values, metric="progressive_linacc/z_agg@3"):
    """A study whose arms have these values at their checks, one list per run, a hundred samples apart."""
    study = Builder(folder)
    for arm, runs in values.items():
        study.arm(arm, "grid", "stopgrad", 0.1, [50.0] * len(runs), label=arm)
        for seed, curve in enumerate(runs, start=1):
            path = folder / "runs" / f"{arm}-grid-{seed}" / "records.jsonl"
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            evals = [line for line in lines if line["event"] == "eval"]
            for line, value in zip(evals[1:], curve, strict=False):
                line["metrics"][metric] = value
            for line in evals:
                line |= {"samples_seen": 100 * line["epoch"], "seed": seed}
            path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return folder


def test_samples_to_a_threshold_are_those_from_which_on_it_is_kept(tmp_path, capsys):
    curves = {
        "steady": [[10, 40, 60, 70], [20, 30, 55, 52], [60, 60, 60, 60]],
        "lucky": [[10, 60, 40, 70], [60, 70, 40, 45], [60, 45, 60, 49.9]],
    }
    folder = checks(tmp_path / "demo", curves)
    frames = analysis.load(folder)
    found = samples_to(frames.epochs, 50.0)
    of = {arm: sorted(found[found["arm_id"] == arm]["samples"]) for arm in curves}
    # a run that falls below again has not arrived, one that ends below never does
    assert of == {"steady": [100, 300, 300], "lucky": [400, math.inf, math.inf]}
    rows = {row[1].split(" (")[0]: row[2:] for row in threshold_sheet(frames, 50.0).rows}
    assert rows["steady"] == ["3 of 3", "100", "300", "300"]
    assert rows["lucky"] == ["1 of 3", "400", "not reached", "not reached"]
    assert main(["samples", str(folder), "--reach", "50"]) == 0 and "not reached" in capsys.readouterr().out
    assert main(["samples", str(folder), "--reach", "50", "--format", "csv"]) == 0
    assert capsys.readouterr().out.count("inf") == 2
    assert main(["samples", str(folder), "--reach", "50", "--metric", "linac"]) == 2
    said = capsys.readouterr().err
    assert "no run of these studies recorded it; accuracies on record: linacc/" in said and said.count("\n") == 1
