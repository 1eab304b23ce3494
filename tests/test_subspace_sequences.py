"""Sequences that move through a factor as a whole: what z_agg@k is measured on."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small import config, method, views

from trainer import presets
from trainer.data.images import load_images
from trainer.data.views import Views
from trainer.families.seq_jepa.probing.about import arm_label
from trainer.families.seq_jepa.probing.diagnostics import Diagnostics
from trainer.method import evaluating
from trainer.subspace.sweeps import factor_sweeps, planar_pictures

AFFINE = ["data.transform=affine", "data.max_shift=0.3", "data.max_log_scale=0.2", "data.max_angle=60.0"]
PART = torch.arange(3)


def swept(*overrides, steps=8):
    run = config("data.sizes=[200,60,60]", "optim.batch_size=50", *overrides)
    images = load_images(run).to(torch.device("cpu"), 100)
    source, index = views(run, images), images.splits["validation"][:5]
    return run, images, source, index, factor_sweeps(run, images, source, index, steps)


@pytest.mark.parametrize("overrides", [[], AFFINE])
def test_further_views_keep_their_offset_through_the_sweep_and_stay_in_the_training_range(overrides):
    run, images, source, index, sweeps = swept(*overrides)
    for factor, sweep in sweeps.items():
        pictures, pose = sweep.sequence(PART, 3)
        steps = len(sweep.values)
        angle, log_scale = pose.angle.view(3, steps, 3), pose.log_scale.view(3, steps, 3)
        shift = pose.shift.view(3, steps, 3, 2)
        column = {"rotation": angle, "shift_x": shift[..., 0], "shift_y": shift[..., 1], "scale": log_scale}
        at = torch.deg2rad(sweep.values) if factor == "rotation" else sweep.values
        for name, values in column.items():
            offset = values - (at[None, :, None] if name == factor else 0)
            # offsets do not depend on the value of the factor, and the first view has none
            assert (
                torch.allclose(offset, offset[:, :1].expand_as(offset), atol=1e-5) and offset[..., 0].abs().max() < 1e-5
            )
            if name == factor and not sweep.angle:
                assert offset.abs().max() < 1e-5  # the range of the factor would be left
            elif overrides or name == "rotation":
                assert offset[:, 0, 1:].unique().numel() == 6
        if overrides:
            assert shift.abs().max() <= 0.3 + 1e-5 and log_scale.abs().max() <= 0.2 + 1e-5
            assert angle.abs().max() <= math.radians(60) + 1e-5
        for view, shown in enumerate(pictures, start=1):
            # every picture is the one of its pose: anchor 2, the last value
            own = planar_pictures(run, images, index[2:3], pose[-1:, view])
            assert torch.allclose(shown[-1:], own, atol=1e-5)
        assert torch.equal(sweep.sequence(PART[1:], 2)[1].angle, pose.angle[steps:, :2])


def test_a_turned_sequence_keeps_its_actions():
    _, _, source, _, sweeps = swept()
    _, pose = sweeps["rotation"].sequence(PART, 4)
    told = source.model_actions(pose).view(3, 8, 3, -1)
    assert torch.allclose(told, told[:, :1].expand_as(told), atol=1e-5) and told[:, 0].std(0).min() > 0.05


def test_an_object_turns_in_all_its_recorded_views():
    run = presets.build(
        {"data": {"name": "mini3d", "transform": "object", "sizes": [16, 8, 8]}, "optim": {"batch_size": 8}}
    )
    images = load_images(run).to(torch.device("cpu"), 1000)
    source, index = Views(run, images, torch.float32), images.splits["validation"][:4]
    sweep = factor_sweeps(run, images, source, index, 8)["rotation_y"]
    pictures, recorded = sweep.sequence(torch.tensor([2, 3]), 3)
    for view in (1, 2):
        stored = images.images[index[2:4] * 20 + view].float() / 255
        assert torch.equal(pictures[view - 1].view(2, 8, 3, 32, 32)[:, 0], stored)
    turned = Rotation.from_quat(images.extras["quaternion"][index[3], 2].double().numpy()) * Rotation.from_rotvec(
        [0, np.pi / 2, 0]
    )
    found = Rotation.from_quat(recorded.quaternion.view(2, 8, 3, 4)[1, 2, 2].double().numpy())
    assert (found.inv() * turned).magnitude() < 1e-5
    assert torch.equal(recorded.hue.view(2, 8, 3)[:, 5], images.extras["hue"][index[2:4], :3])
    assert source.model_actions(recorded).shape == (16, 2, 4)


@pytest.mark.parametrize("overrides", [[], AFFINE])
def test_aggregates_are_those_of_the_first_k_views_and_of_the_settings(overrides):
    run, images, source, index, sweeps = swept(*overrides, "eval.subspace={anchors: 8, steps: 8}")
    model = method(run, source.action_dim).eval()
    diagnostics = Diagnostics(run, images, source, model, "validation")
    sweep = diagnostics.pictures["rotation"]
    with torch.no_grad(), evaluating(model):
        first = sweep.render(PART)
        z = model.encode([first])[:, 0]
        found = diagnostics._aggregates(model, z, sweep, PART)
        further, pose = sweep.sequence(PART, 3)
        codes, actions = model.encode([first, *further]), model.action(source.model_actions(pose))
        assert list(found) == [1, 2, 3]
        for k, z_agg in found.items():
            assert torch.allclose(z_agg, model.aggregator(codes[:, :k], actions[:, : k - 1]), atol=1e-5)
        assert not torch.allclose(found[2], found[3], atol=1e-2)
    made = diagnostics.measure(model)
    assert made.arrays["codes"].tolist() == ["", "z_agg@1", "z_agg@2", "z_agg@3", "pixels", "untrained"]
    assert len(made.arrays["units"]) == len(made.arrays["factors"])
    chosen = config(
        "data.sizes=[200,60,60]", "optim.batch_size=50", *overrides, "eval.subspace={anchors: 8, steps: 8, views: [5]}"
    )
    other = Diagnostics(chosen, images, source, model, "validation").measure(model)
    assert other.arrays["codes"].tolist() == ["", "z_agg@5", "pixels", "untrained"]
    # what the older versions measured has not moved
    for name in ("factor_variance/rotation", "circle_score.h1/rotation", "overlap.k4/rotation+scale"):
        assert made.metrics.get(name) == other.metrics.get(name)


def test_an_arm_is_described_by_every_weight_that_acts():
    assert arm_label(config()).startswith("digits, ")
    label = arm_label(config("objective.teacher=stopgrad", "objective.weights.rate=0.03"))
    assert label == "digits, stopgrad, λ=0.03"
    assert arm_label(config("objective.teacher=stopgrad", "objective.weights.rate=0.0")) == "digits, stopgrad, λ=0"
