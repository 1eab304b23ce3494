"""Streams: what comes when, what is refused, and that a killed one goes on as if it had not been."""

import math

import pytest
import torch
from small import config
from stream import lines, stream

from trainer import presets
from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.stream_norm import StoredNorm, replace_norms, set_segment
from trainer.data.images import load_images
from trainer.data.sources.shifts import level, segment_of
from trainer.errors import UsageError
from trainer.families import seq_jepa
from trainer.loop import train
from trainer.probes import regression
from trainer.record.identity import arm_id
from trainer.step import make_optimiser, optimise

pytestmark = pytest.mark.usefixtures("few_steps")

REPLAY = "data.stream.replay={capacity: 16}"


@pytest.fixture(autouse=True)
def short_probes(monkeypatch):
    """What the action probe says is tested elsewhere."""
    monkeypatch.setattr(regression, "STEPS", 4)


@pytest.fixture(scope="module")
def images():
    return load_images(stream())


def source(run, images):
    return seq_jepa.source(run, images, torch.float32)


def shown(run, images):
    """Index, class and poses of every row of a stream, by step."""
    made = source(run, images)
    batches = [made.next() for _ in range(run.epochs * run.steps_per_epoch)]
    return batches, made


def test_without_a_stream_nothing_has_changed():
    assert arm_id(presets.load("digits")) == "f372a5dc9d"
    assert arm_id(presets.load("digits", ["data.stream=null", "model.norm=batch"])) == "f372a5dc9d"
    with pytest.raises(UsageError, match="batch_size = 2 must be at least 4 without data.stream"):
        config("optim.batch_size=2")


def test_classes_come_one_segment_after_the_other_and_each_image_once():
    run = stream("data.sizes=null", "optim.batch_size=4")
    whole = load_images(run)
    batches, made = shown(run, whole)
    assert len(batches) == 5 * made.segment_steps == 275
    for segment in range(5):
        part = batches[segment * made.segment_steps : (segment + 1) * made.segment_steps]
        labels, index = (torch.cat([batch[name] for batch in part]) for name in ("labels", "index"))
        assert set(labels.tolist()) == {2 * segment, 2 * segment + 1}
        # single pass: only a segment of fewer images than steps shows some of them again
        assert index.bincount().max() <= 2 and len(index.unique()) >= 0.9 * len(index)
    assert [made.ends_segment(step) for step in (0, 54, 55, 275)] == [False, False, True, True]


def test_bounds_draw_from_everything_so_far_and_from_everything(images):
    cumulative, _ = shown(stream("data.stream.order=cumulative"), images)
    joint, made = shown(stream("data.stream.order=joint"), images)
    size = made.segment_steps
    assert len(cumulative) == len(joint)
    for segment in range(5):
        so_far = torch.cat([batch["labels"] for batch in cumulative[segment * size : (segment + 1) * size]])
        assert so_far.max() <= 2 * segment + 1 and (segment == 0 or so_far.min() <= 1)
    assert len(torch.cat([batch["labels"] for batch in joint[:size]]).unique()) > 5


def test_windows_of_the_angle(images):
    batches, made = shown(stream(kind="actions"), images)
    for step, batch in enumerate(batches):
        segment = made.segment_at(step)
        angle = torch.rad2deg(torch.atan2(batch["poses"][..., 0], batch["poses"][..., 1]))
        assert angle.min() >= -180 + 120 * segment - 1e-3 and angle.max() <= -60 + 120 * segment + 1e-3
    held = [next(iter(made.at(segment).fixed("validation").batches(64))) for segment in range(3)]
    angles = [torch.rad2deg(torch.atan2(one["poses"][..., 0], one["poses"][..., 1])) for one in held]
    assert all(a.min() >= -180 + 120 * i - 1e-3 and a.max() <= -60 + 120 * i + 1e-3 for i, a in enumerate(angles))


def test_factors_one_after_the_other(images):
    run = stream(
        "data.transform=affine", "data.stream.shift=factors", "schedule.horizon_epochs=4", kind="actions", epochs=4
    )
    batches, made = shown(run, images)
    moving = [set(), set(), set(), set()]
    for step, batch in enumerate(batches):
        poses = batch["poses"]
        parts = {"rotation": poses[..., 0], "position": poses[..., 2:4], "scale": poses[..., 4]}
        moving[made.segment_at(step)] |= {name for name, values in parts.items() if values.abs().max() > 1e-6}
    assert moving == [{"rotation"}, {"scale"}, {"position"}, {"rotation", "position", "scale"}]


def test_appearance_changes_abruptly_or_gradually(images):
    kinds = {}
    for gradual in (False, True):
        run = stream(f"data.stream.gradual={str(gradual).lower()}", "data.draws_per_epoch=4", kind="appearance")
        batches, made = shown(run, images)
        kinds[gradual] = [torch.stack(batch["observed"]).std() for batch in batches]
        steps = made.segment_steps
    abrupt, gradual = (torch.stack(kinds[one]).view(4, steps).mean(1) for one in (False, True))
    # contrast 1 at the beginning; abruptly 0.3 in the whole last segment, gradually only at its end
    assert abrupt[0] > 1.4 * abrupt[3] and gradual[0] > 1.2 * gradual[3] and abrupt[3] < gradual[3]
    places = torch.linspace(0, 0.999, 8, dtype=torch.float64)
    run = stream(kind="appearance")
    assert level(places, run.data.stream).unique().tolist() == pytest.approx([0.3, 0.3 + 0.7 / 3, 0.3 + 1.4 / 3, 1.0])
    assert segment_of(torch.tensor([0.0, 0.2499, 0.25, 0.9999]), 4).tolist() == [0, 0, 1, 3]


def test_colours_turn():
    run = stream(
        "data.name=cifar10", "data.transform=augment", "data.generated=true", "data.sizes=[32,16,16]",
        "data.canvas=null", "data.content=null", "data.stream.change=hue", "optim.batch_size=4",
        "data.augment.jitter=0", "data.augment.grey=0", kind="appearance", epochs=4,
    )  # fmt: skip
    made = source(run, load_images(run))
    first, last = (next(iter(made.at(segment).fixed("validation").batches(16))) for segment in (0, 3))
    difference = (first["observed"][0] - last["observed"][0]).abs().mean()
    # a turn of the hue moves channels, not grey values
    assert difference > 0.05 and torch.equal(first["poses"], last["poses"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.stream.segments=3"], "must divide the 10 classes of digits"),
        (["data.stream.segments=1"], "must be 1 with stream.kind=stationary, and at least 2 otherwise"),
        (["data.stream.shift=windows"], "has a meaning only with stream.kind=actions"),
        (["data.stream.kind=actions", "data.stream.shift=factors"], "needs data.transform=affine"),
        (["data.stream={kind: appearance, change: hue}"], "needs colour images"),
        (["data.stream={kind: appearance, to: 1.0}"], "nothing would change"),
        (["data.stream={kind: appearance, to: 2.5}"], "less than or equal to 2"),
        (["schedule.horizon_epochs=6"], "must not exceed 5, the stream's 5 segments x 1 checks"),
        (["data.stream.checks=2", "schedule.horizon_epochs=10", "eval.probe_epochs=[1]"], "judged at the ends"),
        (["runtime.compile=true"], "a stream's steps are not recorded"),
        ([REPLAY, "data.stream.order=joint"], "what came before is drawn anyway"),
        (["data.stream.replay={kind: ring, capacity: 4}"], "a ring needs a place for each of the 5 segments"),
        ([REPLAY, "data.stream.replay.into=rate", "objective.weights.rate=0"], "does nothing; give one a weight"),
        (
            [REPLAY, "data.stream.replay.into=rate", "objective.symmetric=true"],
            "is not defined with objective.symmetric",
        ),
        (["optim.batch_size=1"], "a row alone has no batch statistics"),
        (["optim.batch_size=1", "model.norm=running"], "the coding rate of one row is a constant"),
        (
            [
                "optim.batch_size=1",
                "model.norm=running",
                "objective.weights.rate=0",
                "objective.weights.vicreg=1",
                REPLAY,
            ],
            "one row has no variance",
        ),
        (["model.norm=frozen", "data.stream={kind: stationary}", "schedule.horizon_epochs=1"], "with one segment is"),
        (["model.norm=group", "objective.double_bn=true"], "is about batch-norm"),
        (["data.sizes=[60,7,20]"], "60 train and 7 validation images; a stream of classes"),
        (["objective.consolidate={kind: ewc, quirks: [total_gradient]}"], "total_gradient is of si, not of ewc"),
        (["objective.consolidate={kind: si, gamma: 0.5}"], "has a meaning only with consolidate.kind=online_ewc"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(words, message):
    with pytest.raises(UsageError) as found:
        stream(*words, epochs=2 if "data.stream.checks=2" in words else 1)
    assert message in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("words", [["model.norm=frozen"], ["model.norm=per_segment"], ["objective.consolidate={}"]])
def test_what_needs_a_stream_is_refused_without_one(words):
    with pytest.raises(UsageError, match="has a meaning only with data.stream"):
        config(*words)


def test_one_row_at_a_time_trains_under_every_norm_that_allows_it(tmp_path):
    found = {}
    for norm in ("running", "frozen", "per_segment", "group"):
        words = [f"model.norm={norm}", "objective.weights.rate=0", "optim.batch_size=1", "data.sizes=[50,20,20]"]
        run = stream(*words, epochs=2)
        result = train(run, tmp_path, images=load_images(run))
        assert result["stopped"] == "completed" and result["progressive_linacc/z_agg@3"] >= 0
        found[norm] = [line["metrics"]["loss/total"] for line in lines(tmp_path, run, "epoch")]
    # until the first boundary the three with stored statistics are one; then each goes its own way
    assert found["running"][0] == found["frozen"][0] == found["per_segment"][0] != found["group"][0]
    assert len({found[norm][1] for norm in found}) == 4


def test_a_row_with_replayed_ones_may_be_spread(tmp_path):
    """The rate takes the row and what is replayed beside it."""
    words = [
        REPLAY,
        "data.stream.replay.ratio=0.75",
        "model.norm=running",
        "optim.batch_size=1",
        "data.sizes=[100,40,20]",
    ]
    run = stream(*words, epochs=1)
    train(run, tmp_path, images=load_images(run))
    (line,) = lines(tmp_path, run, "epoch")
    assert math.isfinite(line["metrics"]["term/rate"]) and line["metrics"]["term/rate"] < -0.5


def test_a_row_alone_may_be_spread_beside_a_window(tmp_path):
    """Also with replayed rows in the prediction only: the past is what the rate compares the row with."""
    words = ["model.norm=running", "optim.batch_size=1", "data.sizes=[100,40,20]", "objective.rate.window={}"]
    for more in ([], ["data.stream.replay={capacity: 16, into: prediction}"]):
        run = stream(*words, *more, epochs=1)
        train(run, tmp_path, images=load_images(run))
        (line,) = lines(tmp_path, run, "epoch")
        assert math.isfinite(line["metrics"]["term/rate"]) and line["metrics"]["window_share/agg"] < 0.5


def test_stored_statistics_are_those_of_the_stream_and_no_gradient_flows_through_them():
    model = torch.nn.Sequential(GlobalBatchNorm(3))
    replace_norms(model, "per_segment", 2)
    (norm,) = model
    assert isinstance(norm, StoredNorm)
    x = torch.randn(5000, 3) * torch.tensor([1.0, 2.0, 3.0]) + 1
    for row in x.split(1):
        model(row)  # one row alone has no variance, and moves nothing
    assert torch.equal(norm.running_mean, torch.zeros(2, 3))
    for rows in x.split(50):
        model(rows)
    assert norm.running_mean[0].sub(1).abs().max() < 0.3 and norm.running_var[0][2] == pytest.approx(9, rel=0.2)
    assert torch.equal(norm.running_mean[1], torch.zeros(3))
    set_segment(model, 1)
    y = x[:4].clone().requires_grad_()
    model.eval()(y).sum().backward()
    assert torch.allclose(y.grad, torch.ones(4, 3), atol=1e-4)  # the statistics of another segment: mean 0, variance 1


CASES = {
    "reservoir, si": [REPLAY, "data.stream.replay.ratio=0.25", "objective.consolidate={kind: si, strength: 5}"],
    "fifo into prediction, ewc": [
        REPLAY, "data.stream.replay={kind: fifo, into: prediction}", "objective.consolidate={kind: ewc, samples: 4}"
    ],
    "ring into rate, online_ewc": [
        REPLAY, "data.stream.replay={kind: ring, into: rate}", "objective.teacher=ema",
        "objective.consolidate={kind: online_ewc, gamma: 0.5, samples: 4}",
    ],
    "per_segment": ["model.norm=per_segment"],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_stream_that_was_cut_goes_on_bit_for_bit_and_every_part_acts(name, images, tmp_path):
    """The checkpoint is all there is after a SIGKILL; ``parts`` is trained by another call from what the first left."""
    whole, part = stream(*CASES[name], epochs=3), stream(*CASES[name], epochs=2)
    train(whole, tmp_path / "whole", images=images)
    train(part, tmp_path / "parts", images=images)
    train(whole, tmp_path / "parts", images=images)
    for event in ("epoch", "eval"):
        # at which epoch probes were due is part of a line: the short run was probed at its end
        one, other = ([line["metrics"] for line in lines(tmp_path / name, whole, event)] for name in ("whole", "parts"))
        assert len(one) == 3 + (event == "eval") and one == other


@pytest.mark.parametrize("words", [["model.norm=running"], ["model.norm=frozen", "objective.consolidate={kind: si}"]])
def test_no_step_waits_for_the_device_to_tell_where_in_the_stream_it_is(words, images, monkeypatch):
    run = stream(*words, epochs=2)
    made = source(run, images)
    method = seq_jepa.make(run, made)
    optimiser = make_optimiser(run, method)

    def asked(*_):
        raise AssertionError("a number was read from the device")

    for step in range(made.segment_steps + 2):
        batch = made.next()
        with monkeypatch.context() as patch:
            if not made.ends_segment(step + 1):  # there a number may be read, once per segment
                for name in ("__int__", "__bool__", "__float__", "__index__", "item", "tolist"):
                    patch.setattr(torch.Tensor, name, asked)
            optimise(run, step, method, method, optimiser, batch)


def test_its_batches_are_rendered_from_no_plan(images):
    made = source(stream(REPLAY), images)
    with pytest.raises(TypeError, match="a stream is no Plannable"):
        made.render(made.plan(0))
