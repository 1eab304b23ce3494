"""Metrics of the matrix against hand-made and published values, and how a run records them."""

import numpy as np
import pytest
import torch
from oracles import Case
from stream import lines, stream

from trainer.data.images import load_images
from trainer.families.seq_jepa.continual import probing as continual
from trainer.loop import train
from trainer.probes import regression
from trainer.probes.continual import cka, summary

pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["metrics_T4_forgets", "metrics_T3_improves", "metrics_T4_upper_nan", "metrics_T1"])
def test_definitions(name):
    case = Case("continual", name)
    rows = [[None if np.isnan(x) else x for x in row] for row in case.inputs["acc"].tolist()]
    found = summary(rows, [None if np.isnan(x) else x for x in case.inputs["baseline"].tolist()])
    for metric in ("acc", "bwt", "fwt", "forgetting"):
        expected = case.outputs.get(f"def_{metric}", torch.tensor(float("nan")))
        if expected.isnan():  # one segment, or later ones that were not measured: it does not exist
            assert metric not in found
        else:
            case.equals(torch.tensor(found[metric], dtype=torch.float64), expected)


def test_by_hand_and_interrupted():
    rows = [[80.0, 10.0, 20.0], [60.0, 70.0, 30.0], [50.0, 75.0, 90.0]]
    found = summary(rows, [5.0, 8.0, 12.0])
    assert found == pytest.approx({
        "acc": 215 / 3, "anytime": (80 + 65 + 215 / 3) / 3, "bwt": (-30 + 5) / 2, "forgetting": (30 - 5) / 2,
        "fwt": (2 + 18) / 2,
    })  # fmt: skip
    # two of three segments seen: the metrics of a stream of two
    assert summary(rows[:2], [5.0, 8.0, 12.0]) == pytest.approx(
        {"acc": 65, "anytime": (80 + 65) / 2, "bwt": -20, "forgetting": 20, "fwt": 2}
    )
    assert summary([]) == {} and set(summary([[3.0]])) == {"acc", "anytime"}
    assert "fwt" not in summary([[80.0], [60.0, 70.0]], [5.0, 8.0])  # the future was not measured


def test_alignment_ignores_rotation_and_scale_and_nothing_else():
    x = torch.randn(200, 6, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    assert cka(x, 3 * x @ turn + 5) == pytest.approx(1, abs=1e-9)
    assert cka(x, torch.randn(200, 6)) < 0.2


def test_a_run_records_its_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 4)
    run = stream("data.sizes=[200,100,50]", "eval.action_probe=true", epochs=3)
    train(run, tmp_path, images=load_images(run))
    records = [line["metrics"] for line in lines(tmp_path, run, "eval")]
    for name in ("linacc{}/z_agg@3", "linacc{}/z_1@1", "knn20{}/z_agg@3", "r2_action.feature_std{}/z_pair@2",
                 "rank_pr{}/z@3", "rank_pr{}/z_agg@3"):  # fmt: skip
        rows = [[one[name.format(f".seg{i}")] for i in range(1, 6)] for one in records]
        for t in (1, 2, 3):
            expected = summary(rows[1 : t + 1], rows[0])
            found = {kind: records[t][name.format(f".{kind}")] for kind in expected}
            assert found == pytest.approx(expected), name
    # all images of a split are in some segment, so the last row's mean is the accuracy of one probe of all classes
    assert records[3]["cka.seg3/z_1@1"] == pytest.approx(1) and records[3]["cka.seg1/z_1@1"] < 0.999
    frozen = [record.get("linacc.frozen_first_acc/z_agg@3") for record in records]
    assert frozen[0] is None and frozen[1] == frozen[2] == frozen[3] > 0
    assert "progressive_r2_action.feature_std/z_pair@2" in records[1]


def test_a_probe_of_everything_after_the_last_segment(tmp_path, monkeypatch):
    """The mean of the last row over segments, weighted by their images, is the whole split's accuracy."""
    monkeypatch.setattr(regression, "STEPS", 4)
    run = stream("data.stream.order=joint", epochs=5)
    images = load_images(run)
    train(run, tmp_path, images=images)
    last = [line["metrics"] for line in lines(tmp_path, run, "eval")][-1]
    labels = images.labels[images.splits["validation"]]
    share = [float((labels // 2 == i).double().mean()) for i in range(5)]
    mean = sum(s * last[f"linacc.seg{i}/z_agg@3"] for i, s in enumerate(share, start=1))
    assert mean == pytest.approx(last["linacc/z_agg@3"], abs=1.0)


def test_a_stationary_stream_has_no_forgetting(tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 4)
    run = stream(kind="stationary")
    result = train(run, tmp_path, images=load_images(run))
    assert {"linacc.acc/z_agg@3", "linacc.anytime/z_agg@3"} <= result.keys()
    for record in (line["metrics"] for line in lines(tmp_path, run, "eval")):
        # its segment is everything: the untrained model too is measured as the run's own probes measure it
        assert record.get("linacc.seg1/z_agg@3", record.get("linacc/z_agg@3")) == record.get("linacc/z_agg@3")
    assert not [name for name in result if ".bwt" in name or ".forgetting" in name or ".fwt" in name]


@pytest.mark.parametrize("kind", ["classes", "actions"])
def test_batch_statistics_of_the_probes_reach_the_matrix_and_not_the_training(kind, tmp_path, monkeypatch):
    """``classes`` takes its rows from the features of the whole split, ``actions`` makes features of its own."""
    monkeypatch.setattr(regression, "STEPS", 4)
    found = {}
    for mode in ("eval", "train"):
        run = stream(f"eval.probe_bn={mode}", kind=kind, epochs=1)
        segments = run.data.stream.segments
        train(run, tmp_path / mode, images=load_images(run))
        found[mode] = [lines(tmp_path / mode, run, event)[-1]["metrics"] for event in ("eval", "epoch")]
    (stored, epoch), (batch, same) = found["eval"], found["train"]
    assert epoch["loss/total"] == same["loss/total"] and stored.keys() == batch.keys()
    assert all(stored[f"rank_pr.seg{i}/z@3"] != batch[f"rank_pr.seg{i}/z@3"] for i in range(1, segments + 1))


@pytest.mark.parametrize("words", [["data.stream.kind=actions"], ["model.norm=per_segment"]])
def test_the_untrained_model_is_measured_with_its_stored_statistics(words, tmp_path, monkeypatch):
    """Forward transfer is a difference to it: statistics of whichever rows are measured together would enter it."""
    monkeypatch.setattr(regression, "STEPS", 4)
    found = []
    kind = "actions" if "data.stream.kind=actions" in words else "classes"
    for chunk in (256, 30):
        monkeypatch.setattr(continual, "CHUNK", chunk)
        run = stream(*words, kind=kind, epochs=0)
        train(run, tmp_path / str(chunk), images=load_images(run))
        (line,) = lines(tmp_path / str(chunk), run, "eval")
        found.append({name: value for name, value in line["metrics"].items() if ".seg" in name and "rank" in name})
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0]


def test_a_segment_of_classes_has_the_features_of_the_split(tmp_path, monkeypatch):
    """What is taken out of the whole split is what the segment's own fixed views give."""
    monkeypatch.setattr(regression, "STEPS", 4)
    run = stream(epochs=1)
    images, rows = load_images(run), []
    for apart in (False, True):
        made = continual.StreamProbes.__init__

        def as_told(self, *args, apart=apart):
            made(self, *args)
            self._among = not apart

        with monkeypatch.context() as patch:
            patch.setattr(continual.StreamProbes, "__init__", as_told)
            train(run, tmp_path / str(apart), images=images)
        rows.append([line["metrics"] for line in lines(tmp_path / str(apart), run, "eval")])
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)


def test_the_console_tells_what_is_left_of_the_segments_so_far(tmp_path, monkeypatch, capsys):
    from trainer.__main__ import main

    monkeypatch.setattr(regression, "STEPS", 4)
    words = ["data.sizes=[100,100,50]", "data.stream.checks=2", "schedule.horizon_epochs=10", "optim.batch_size=5"]
    words += ["gates={}", "eval.probe_epochs=[]", "--wandb", "off", "--epochs", "4", "--results-dir", str(tmp_path)]
    assert main(["--preset", "digits", *words]) == 0
    printed = capsys.readouterr().out.splitlines()
    told = [number for number, line in enumerate(printed) if "so far:" in line]
    # after the second and the fourth measurement; nothing can be forgotten of one segment
    assert [printed[number - 1].split()[1] for number in told] == ["2", "4"]
    assert "forgetting" not in printed[told[0]] and "ACC" in printed[told[0]]
    assert "forgetting" in printed[told[1]] and max(map(len, printed[told[0] - 3 : told[1] + 1])) <= 80


def test_a_study_may_be_about_forgetting_if_its_runs_record_it():
    from studies.engine.metrics import check_recorded, metric
    from trainer.errors import UsageError

    name = "linacc.forgetting/z_agg@M"
    assert not metric(name).higher and metric("linacc.acc/z_agg@M").higher
    check_recorded([name], stream())
    from small import config

    with pytest.raises(UsageError, match="is recorded of runs with data.stream.segments only"):
        check_recorded([name], config())
