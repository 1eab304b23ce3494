"""The loop: weights and terms, resuming after SIGKILL, divergence, precision, and what must not change training."""

import json
import math
import time
from pathlib import Path

import pytest
import stream
import torch
from forked import trainer
from small import PROBED, config

from trainer import checkpoint, presets
from trainer.data.images import load_images
from trainer.errors import RecordError, UsageError
from trainer.loop import train
from trainer.probes import regression
from trainer.record.identity import run_id
from trainer.record.run import comparable, read
from trainer.step import total_loss


def records(folder, run):
    return list(read(folder / run_id(run) / "records.jsonl"))


def weights_of(folder, run):
    state = checkpoint.load(folder / run_id(run), torch.device("cpu"), run_id(run).split("-")[0])
    return state["method"]


@pytest.fixture
def few_steps(monkeypatch):
    """Probes fitted in two steps, where nobody reads their scores: a fifth of a short run's time."""
    monkeypatch.setattr(regression, "STEPS", 2)


def test_every_term_needs_a_weight_and_every_weight_a_term():
    terms = {"predict": torch.tensor(2.0), "rate": torch.tensor(-3.0)}
    assert float(total_loss(terms, {"predict": 1.0, "rate": 0.5})) == pytest.approx(0.5)
    with pytest.raises(UsageError, match="same names"):
        total_loss(terms, {"predict": 1.0})
    with pytest.raises(UsageError, match="same names"):
        total_loss(terms, {"predict": 1.0, "rate": 0.5, "variance": 1.0})
    assert (
        float(
            total_loss(
                {"predict": torch.tensor(2.0), "rate": torch.tensor(float("nan"))}, {"predict": 1.0, "rate": 0.0}
            )
        )
        == 2.0
    )


@pytest.mark.usefixtures("few_steps")
def test_a_run_records_every_epoch_and_reports_it(tmp_path, digits):
    seen = []
    run = config("objective.teacher=ema", epochs=2)
    result = train(run, tmp_path, "study", report=seen.append, images=digits, baselines=True)
    lines = records(tmp_path, run)
    assert [(line["event"], line["epoch"]) for line in lines] == [
        ("eval", 0),
        ("epoch", 1),
        ("eval", 1),
        ("epoch", 2),
        ("eval", 2),
        ("stop", 2),
    ]
    assert [report["epoch"] for report in seen] == [1, 2]
    first, last = lines[0], lines[-2]
    assert first["config"]["objective"]["teacher"] == "ema" and "commit" in first["provenance"]
    assert "linacc/pixels@1" in first["metrics"]
    encoder = sum(
        value.numel() for name, value in weights_of(tmp_path, run).items() if name.startswith("encoder.")
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )  # fmt: skip
    counts = first["parameters"]  # the teacher's copies are not trained
    assert counts.keys() == {"encoder", "action", "aggregator", "predictor", "total"} and counts["encoder"] == encoder
    assert counts["total"] == sum(counts.values()) / 2 and not any("parameters" in line for line in lines[1:])
    assert last["step"] == 34 and last["samples_seen"] == 34 * 64 and last["probe_epoch"] == 2
    assert result["score"] == last["metrics"]["linacc/z_agg@3"]
    train_line = lines[1]
    weighted = train_line["metrics"]["weighted/predict"] + train_line["metrics"]["weighted/rate"]
    assert train_line["metrics"]["loss/total"] == pytest.approx(weighted, rel=1e-5)
    assert 0 < train_line["metrics"]["rate_utilisation/agg"] < 1 and 0 < train_line["ema_decay"] < 1


@pytest.mark.usefixtures("few_steps")
def test_carrying_on_from_a_shorter_run_equals_one_long_run(tmp_path, fewer):
    long, short = config(FEWER, epochs=3), config(FEWER, epochs=1)
    train(long, tmp_path / "a", images=fewer)
    train(short, tmp_path / "b", images=fewer)
    train(long, tmp_path / "b", images=fewer)
    straight = [comparable(line) for line in records(tmp_path / "a", long) if line["event"] == "epoch"]
    resumed = [comparable(line) for line in records(tmp_path / "b", long) if line["event"] == "epoch"]
    assert straight == resumed
    assert any(line["event"] == "resume" for line in records(tmp_path / "b", long))
    before = records(tmp_path / "b", long)
    again = train(long, tmp_path / "b", images=fewer)
    assert records(tmp_path / "b", long) == before and again["epoch"] == 3


FEWER = "data.sizes=[256,64,64]"
"""Four steps an epoch."""


@pytest.fixture(scope="module")
def fewer():
    return load_images(config(FEWER))


STREAM = [
    *stream.SMALL, "data.stream={kind: classes, checks: 2, replay: {capacity: 24}}", "schedule.horizon_epochs=10",
    "objective.consolidate={kind: si, strength: 5}", "objective.rate.window={rows: 64}",
]  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "moments"),
    [
        ([*PROBED, FEWER, "objective.teacher=ema", "model.dropout=0.1"], ((1, 0.0), (3, 0.05), (7, 0.0))),
        ([*PROBED, FEWER, "objective.teacher=stopgrad", "data.transform=affine"], ((1, 0.0), (3, 0.05), (7, 0.0))),
        (STREAM, ((7, 0.0),)),  # in the middle of its second segment
    ],
    ids=["ema", "affine", "stream"],
)
def test_sigkill_at_any_moment_changes_nothing(tmp_path, arm, moments):
    """Kill a real process at several moments; the resumed record is bit-identical to an uninterrupted one."""
    epochs = 5 if len(moments) > 1 else 4
    run = presets.load("digits", arm, {"runtime.across_commits": True, "epochs": epochs})
    command = ["--study", "killed", "--results-dir", str(tmp_path), "--gate", "none", "--epochs", str(epochs)]
    command += ["--across-commits", *arm]
    path = tmp_path / "killed" / "runs" / run_id(run) / "records.jsonl"
    kills = 0
    for wanted_lines, delay in moments:
        process = trainer(command)
        while process.is_alive() and (not path.exists() or path.read_bytes().count(b"\n") < wanted_lines):
            time.sleep(0.002)
        time.sleep(delay)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
    assert kills >= min(2, len(moments)), "the runs ended before they could be killed"
    last = trainer(command)
    last.join()
    assert last.exitcode == 0
    train(run, tmp_path / "straight", "killed", baselines=True)
    keep = ("epoch", "eval", "stop")
    killed = [comparable(line) for line in read(path) if line["event"] in keep]
    straight = [comparable(line) for line in records(tmp_path / "straight", run) if line["event"] in keep]
    for line in (*killed, *straight):
        line.pop("config", None)
    assert killed == straight
    left, right = weights_of(tmp_path / "killed" / "runs", run), weights_of(tmp_path / "straight", run)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.usefixtures("few_steps")
def test_a_torn_record_is_repaired_and_said(tmp_path, digits):
    short, run = config(epochs=1), config(epochs=2)
    train(short, tmp_path, images=digits)
    path = tmp_path / run_id(run) / "records.jsonl"
    with path.open("ab") as file:
        file.write(b'{"event":"ep')
    train(run, tmp_path, images=digits)
    resume = next(line for line in records(tmp_path, run) if line["event"] == "resume")
    assert resume["repaired"] == '{"event":"ep' and resume["attempt"] == 2


@pytest.mark.usefixtures("few_steps")
def test_probes_and_their_epochs_never_change_training(tmp_path, fewer):
    one, other = (config(FEWER, f"eval.probe_epochs={epochs}", epochs=3) for epochs in ("[1,2]", "[3]"))
    train(one, tmp_path / "a", images=fewer, baselines=True)
    train(other, tmp_path / "b", images=fewer)
    left, right = weights_of(tmp_path / "a", one), weights_of(tmp_path / "b", other)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.usefixtures("few_steps")
def test_a_run_that_diverges_stops_with_a_reason_and_no_number(tmp_path, digits, monkeypatch):
    seen = []
    calls = {"n": 0}

    def poisoned(terms, weights):
        calls["n"] += 1
        return total_loss(terms, weights) * (float("nan") if calls["n"] == 20 else 1.0)

    monkeypatch.setattr("trainer.step.total_loss", poisoned)
    run = config(epochs=4)
    result = train(run, tmp_path, report=seen.append, images=digits)
    stop = records(tmp_path, run)[-1]
    assert stop["event"] == "stop" and stop["reason"].startswith("diverged by step 19")
    assert calls["n"] == 20 and result["stopped"] == stop["reason"]
    assert seen[-1]["diverged"] and seen[-1]["score"] is None and seen[-1]["epoch"] == 2


SHORT = (FEWER, "schedule.horizon_epochs=3", "schedule.warmup_epochs=1")


def second_epoch(folder, run):
    return next(line["metrics"] for line in records(folder, run) if line["event"] == "epoch" and line["epoch"] == 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory, fewer):
    folder, run = tmp_path_factory.mktemp("base"), config(*SHORT, epochs=2)
    train(run, folder, images=fewer)
    return second_epoch(folder, run)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(
    "change",
    ["optim.lr=0.01", "optim.weight_decay=0.5", "optim.beta1=0.5", "optim.beta2=0.9", "optim.clip_norm=0.01",
        "optim.batch_size=32", "schedule.name=constant",
     "schedule.warmup_epochs=0", "schedule.final_lr_ratio=0.9", "precision=bf16", "data.draws_per_epoch=2",
     "objective.weights.predict=0.5"],
)  # fmt: skip
def test_switches_of_optimiser_schedule_and_precision_act(tmp_path, fewer, base, change):
    run = config(*SHORT, change, epochs=2)
    train(run, tmp_path, images=fewer)
    changed = second_epoch(tmp_path, run)
    assert base["term/predict"] != changed["term/predict"]
    if change == "precision=bf16":
        assert base["term/predict"] == pytest.approx(changed["term/predict"], rel=0.05)


@pytest.mark.usefixtures("few_steps")
def test_runtime_switches(tmp_path, fewer, monkeypatch):
    """Checkpoints every second epoch and at the end; the configured number of threads, which are only asked for here:
    two that wait for each other take minutes beside other work."""
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    run, steps = config(FEWER, "runtime.checkpoint_every=2", "runtime.threads=2", epochs=3), []

    def saved(_):
        steps.append(checkpoint.load(tmp_path / run_id(run), torch.device("cpu"), run_id(run)[:10])["views"]["step"])

    train(run, tmp_path, report=saved, images=fewer)
    assert steps == [0, 8, 12] and asked[0] == 2


@pytest.mark.usefixtures("few_steps")
def test_a_checkpoint_of_another_arm_is_refused(tmp_path, digits):
    run, other = config(epochs=1), config("optim.lr=0.01", epochs=1)
    train(run, tmp_path, images=digits)
    (tmp_path / run_id(other)).mkdir()
    (tmp_path / run_id(other) / "checkpoint.pt").write_bytes((tmp_path / run_id(run) / "checkpoint.pt").read_bytes())
    with pytest.raises(RecordError, match="belongs to arm"):
        train(other, tmp_path, images=digits)
    (tmp_path / run_id(other) / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(RecordError, match="cannot be read"):
        train(other, tmp_path, images=digits)


@pytest.mark.usefixtures("few_steps")
def test_a_run_of_another_commit_needs_a_flag_and_one_of_other_probes_is_another(tmp_path, digits):
    run = config(epochs=1)
    strict = run.model_copy(update={"runtime": run.runtime.model_copy(update={"across_commits": False})})
    train(run, tmp_path, images=digits)
    path = tmp_path / run_id(run) / "records.jsonl"
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"measured with eval.probe_bn = 'eval', not 'train': .*evaluate --set"):
        train(config("eval.probe_bn=train", epochs=2), tmp_path, images=digits)
    assert path.read_bytes() == before
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["provenance"]["commit"] = "0" * 40
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    from trainer.record.identity import provenance

    if provenance()["commit"] is None:
        return  # an unpacked archive has no commit to compare
    with pytest.raises(RecordError, match="across-commits"):
        train(strict, tmp_path, images=digits)
    assert train(run, tmp_path, images=digits)["epoch"] == 1


def test_no_pickle_can_enter_through_a_checkpoint(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"arm_id": "x", "evil": Evil()}, folder / "checkpoint.pt")
    with pytest.raises(RecordError, match="cannot be read"):
        checkpoint.load(folder, torch.device("cpu"), "x")
    assert not (tmp_path / "touched").exists()


def test_a_run_in_double_precision_is_measured_too(tmp_path):
    run = config("precision=fp64", "data.sizes=[64,64,64]", epochs=1)
    last = train(run, tmp_path)
    assert last["stopped"] == "completed" and math.isfinite(last["r2_action.feature_std/z_pair@2"])
