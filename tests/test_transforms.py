"""How views are drawn and what the model is told of them: augmentations, glimpses, objects, planar steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation
from torchvision.transforms import v2

from trainer import presets
from trainer.config import SETS, DataConfig
from trainer.data import shards, store
from trainer.data.augment import Augment
from trainer.data.glimpses import Glimpses
from trainer.data.images import ImageSet, load_images
from trainer.data.object_views import ObjectViews, relative_quaternion
from trainer.data.planar import Planar
from trainer.data.views import Views
from trainer.families import seq_jepa

CPU = torch.device("cpu")


def run_of(data, batch_size=16, **objective):
    sizes = {} if data["name"] == "mini3d" else {"generated": True, "sizes": (40, 20, 20)}
    return presets.build(
        {"data": {**sizes, **data}, "optim": {"batch_size": batch_size}, "objective": objective, "model": {"heads": 1}}
    )


AUGMENT = {"name": "cifar100", "transform": "augment"}


def source(data, batch_size=16, rank=0, world=1, images=None, **objective):
    run = run_of(data, batch_size, **objective)
    return seq_jepa.source(run, images or load_images(run), torch.float32, rank, world)


def uniform(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def drawn(count=20_000, views=4, **augment):
    config = DataConfig(**AUGMENT, observed_views=views - 1, augment=augment)
    transform = Augment(config, 32)
    return transform, transform.draw(uniform(count, transform.numbers(views)), torch.arange(count), views)


# --- augmentations: parameters


def test_the_nine_components_are_crop_jitter_and_blur_in_the_papers_order():
    transform, p = drawn(100)
    absolute = transform.absolute(p)
    assert transform.parameters == absolute.shape[-1] == 9
    top, left, height, width = absolute[..., :4].unbind(-1)
    assert torch.equal(absolute[..., :4], p.box) and (top + height <= 32).all() and (left + width <= 32).all()
    assert torch.equal(absolute[..., 4:8], p.jitter) and torch.equal(absolute[..., 8], p.sigma)
    assert torch.equal(transform.actions(p), absolute[:, 1:] - absolute[:, :-1])
    reverse = transform.actions(transform.reverse(p))
    assert torch.allclose(reverse, -transform.actions(p).flip(1))


def isolated(column, value):
    """A flat orange image rendered with one jitter component, everything else off."""
    transform, p = drawn(1, views=2, flip=0, grey=0, target_solarize=0, crop_scale=(1.0, 1.0))
    p.jitter[...] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    p.jitter[..., column] = value
    p.jitter_on[...] = True
    p.sigma[...] = 0
    p.box[...] = torch.tensor([0.0, 0, 32, 32])
    colour = torch.tensor([0.6, 0.4, 0.2])[None, :, None, None]
    half = torch.ones(1, 1, 32, 32)
    half[..., 16:] = 0.5
    return transform.render(colour * half, p)[0][0], (colour * half)[0]


@pytest.mark.parametrize("column, value, reference", [
    (4, 1.3, v2.functional.adjust_brightness), (5, 0.7, v2.functional.adjust_contrast),
    (6, 1.2, v2.functional.adjust_saturation), (7, 0.1, v2.functional.adjust_hue),
])  # fmt: skip
def test_a_jitter_component_means_what_its_place_says(column, value, reference):
    view, image = isolated(column - 4, value)
    assert torch.allclose(view, reference(image, value), atol=1e-5)
    assert float((view - image).abs().max()) > 0.01


def test_a_box_is_top_left_height_width_in_source_pixels():
    transform, p = drawn(1, views=2, flip=0, jitter=0, grey=0, blur=0, target_blur=0, target_solarize=0)
    p.box[...] = torch.tensor([4.0, 10, 8, 16])
    images = torch.zeros(1, 3, 32, 32)
    images[..., 4:12, 10:26] = 1
    assert torch.allclose(transform.render(images, p)[0], torch.ones(1, 3, 32, 32), atol=1e-6)


def test_switches_of_observed_and_target_views():
    _, p = drawn()
    blurred, solarised = (p.sigma > 0).double(), p.solarize.double()
    assert (blurred[:, :-1] == 1).all() and (solarised[:, :-1] == 0).all()
    sides = {"blur": (blurred[:, -1], 0.1), "solarize": (solarised[:, -1], 0.2)}
    sides |= {"flip": (p.flip.double(), 0.5), "grey": (p.grey.double(), 0.2), "jitter": (p.jitter_on.double(), 0.8)}
    for name, (on, chance) in sides.items():
        # four standard errors
        assert float(on.mean()) == pytest.approx(chance, abs=4 * (chance * (1 - chance) / on.numel()) ** 0.5), name


def test_parameters_are_distributed_as_torchvisions():
    _, p = drawn()
    on = p.jitter[p.jitter_on]
    for column, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
        assert stats.kstest(on[:, column].numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4
    off = p.jitter[~p.jitter_on]
    assert torch.equal(off, torch.tensor([1.0, 1, 1, 0]).expand_as(off))
    assert stats.kstest(p.sigma[:, :-1].flatten().numpy(), stats.uniform(0.1, 1.9).cdf).pvalue > 1e-4
    torch.manual_seed(0)
    crop, image = v2.RandomResizedCrop(32, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3)), torch.zeros(3, 32, 32)
    params = [crop.make_params([image]) for _ in range(5000)]
    theirs = np.array([[q["top"], q["left"], q["height"], q["width"]] for q in params], dtype=float)
    ours = p.box.flatten(0, 1)[:20_000].numpy()
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert np.allclose(np.corrcoef(ours.T), np.corrcoef(theirs.T), atol=0.05)
    # parameters of different operations and views know nothing of each other
    together = torch.cat([p.box[:, 0], p.jitter[:, 0], p.sigma[:, :1], p.box[:, 1], p.jitter[:, 1]], 1).numpy()
    correlation = np.corrcoef(together.T)
    assert np.abs(correlation[:4, 4:]).max() < 0.04 and np.abs(correlation[9:, :9]).max() < 0.04


@pytest.mark.parametrize("switch, differs", [
    ({"crop_scale": (0.8, 1.0)}, lambda p: p.box), ({"flip": 0.0}, lambda p: p.flip), ({"jitter": 0.2},
    lambda p: p.jitter_on),
    ({"brightness": 0.1}, lambda p: p.jitter[..., 0]), ({"contrast": 0.1}, lambda p: p.jitter[..., 1]),
    ({"saturation": 0.1}, lambda p: p.jitter[..., 2]), ({"hue": 0.3}, lambda p: p.jitter[..., 3]), ({"grey": 0.9},
    lambda p: p.grey),
    ({"blur": 0.3}, lambda p: p.sigma[:, :-1]), ({"target_blur": 0.9}, lambda p: p.sigma[:, -1]),
    ({"blur_sigma": (1.0, 3.0)}, lambda p: p.sigma),
    ({"solarize": 0.5}, lambda p: p.solarize[:, :-1]), ({"target_solarize": 0.9}, lambda p: p.solarize[:, -1]),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")  # fmt: skip
def test_every_switch_of_the_augmentations_acts_on_its_own_parameter(switch, differs):
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    (base, before), (changed, after) = drawn(64), drawn(64, **switch)
    assert not torch.equal(differs(before), differs(after))
    views, others = base.render(images, before), changed.render(images, after)
    assert any(not torch.equal(a, b) for a, b in zip(views, others, strict=True))
    # every other parameter keeps its random number
    touched = next(iter(switch)).removeprefix("target_")
    for name in ("box", "flip", "grey", "order", "sigma", "solarize"):
        owner = {"box": "crop_scale", "sigma": "blur"}.get(name, name)
        if owner not in touched:
            assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_kernel_of_the_blur_is_the_papers():
    assert Augment(DataConfig(**AUGMENT), 32).kernel == 3
    assert Augment(DataConfig(name="tiny_imagenet", transform="augment"), 64).kernel == 7


# --- augmentations: actions


@pytest.mark.parametrize("action, columns", [
    ("crop_jitter_blur", range(9)), ("crop", range(4)), ("jitter", range(4, 8)), ("blur", [8]),
    ("crop_jitter", range(8)), ("extended", range(12)),
])  # fmt: skip
def test_the_model_is_told_the_named_components_and_probes_all(action, columns):
    augment = {"action": action} | ({"blur": 0, "target_blur": 0} if action == "crop_jitter" else {})
    views = source({**AUGMENT, "augment": augment})
    batch = views.next()
    every = {"crop_jitter": 8, "extended": 12}.get(action, 9)
    assert batch["factors"].shape[-1] == every and batch["poses"].shape == (16, 4, every)
    assert views.action_dim == batch["actions"].shape[-1] == len(columns)
    assert torch.equal(batch["actions"], batch["factors"][..., list(columns)])


def test_the_extended_action_tells_flip_grey_and_solarisation():
    transform, p = drawn(500, action="extended", solarize=0.5)
    switches = transform.absolute(p)[..., 9:]
    assert torch.equal(switches, torch.stack([p.flip, p.grey, p.solarize], -1).float())
    assert transform.factors["switches"] == slice(9, 12)


def test_feature_std_gives_every_component_unit_spread():
    views = source(AUGMENT)
    draw = torch.arange(20_000)
    from trainer.data.philox import Purpose

    p = views._draw(draw % 40, draw, 7, Purpose.TRAIN_VIEWS, 0, 4)
    std = views._scaled(p).flatten(0, 1).std(0)
    assert torch.allclose(std, torch.ones(9), atol=0.03)
    raw = source({**AUGMENT, "action_scale": "none"})._scaled(p)
    assert torch.equal(raw, views.transform.actions(p))


def test_views_scaling_divides_by_the_norm_over_the_sequence_target_included():
    views = source({**AUGMENT, "action_scale": "views"})
    _, p = drawn(64)
    absolute = views.transform.absolute(p).double().numpy()
    scaled = absolute / np.maximum(np.linalg.norm(absolute, axis=1, keepdims=True), 1e-12)
    assert np.allclose(views._scaled(p).numpy(), np.diff(scaled, axis=1), atol=1e-5)
    # what leads from view 1 to view 2 changes with the target view alone
    p.box[:, -1] = p.box[:, -1].roll(1, 0)
    assert np.abs(views._scaled(p).numpy() - np.diff(scaled, axis=1))[:, 0, :4].max() > 0.01


@pytest.mark.parametrize("m, expected", [(1, 0.71), (3, 0.49), (5, 0.40)])
def test_views_scaling_shrinks_actions_as_views_are_added(m, expected):
    views = source({**AUGMENT, "action_scale": "views", "observed_views": m})
    _, p = drawn(views=m + 1)
    assert float(views._scaled(p)[:, 0, 0].std()) == pytest.approx(expected, abs=0.01)


def test_views_scaling_bounds_what_a_perfect_reader_of_two_views_can_know():
    """R2 of the conditional expectation of the first action given both views' true parameters.

    The other views are independent of these two, so the expectation is an average over draws of them, the best any
    regressor can reach; gradient boosting on 15,000 such pairs reaches .958, .983 and .969.
    """
    views = source({**AUGMENT, "action_scale": "views"})
    _, p = drawn()
    absolute = views.transform.absolute(p).double()
    truth = views._scaled(p)[:, 0].double()
    start, end, third, fourth = absolute.unbind(1)
    squares, best = third.square() + fourth.square(), torch.zeros_like(truth)
    draws = 250
    for draw in range(draws):
        norm = (start.square() + end.square() + squares.roll(draw + 1, 0)).sqrt().clamp_min(1e-12)
        best += (end - start) / norm / draws
    score = 1 - (truth - best).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    ceilings = [float(score[part].mean()) for part in (slice(0, 4), slice(4, 8), slice(8, 9))]
    assert ceilings == pytest.approx([0.960, 0.984, 0.970], abs=0.003)
    # with the parameters' own scale there is nothing left to know
    assert torch.equal(views.transform.actions(p)[:, 0], (absolute[:, 1] - absolute[:, 0]).float())


# --- planar steps


def test_angle_steps_turn_by_exact_quarters():
    views = source({"name": "cifar10", "transform": "rotation", "angle_steps": 4, "action_scale": "none"})
    batch = views.next()
    images = views._images.images[batch["index"]].numpy() / 255
    poses, quarters = batch["poses"].numpy(), set()
    for number, view in enumerate([*batch["observed"], *batch["target"]]):
        for row in range(len(images)):
            # positive angles turn clockwise on the screen
            turns = round(np.arctan2(*poses[row, number]) / (np.pi / 2)) % 4
            quarters.add(turns)
            assert np.abs(view[row].numpy() - np.rot90(images[row], -turns, (1, 2))).max() < 2e-5
    assert quarters == {0, 1, 2, 3}
    actions = {tuple(row) for row in batch["actions"].flatten(0, 1).round(decimals=4).add(0.0).tolist()}
    assert actions == {(0, 1), (1, 0), (0, -1), (-1, 0)}


def test_scale_range_is_log_uniform_between_its_ends():
    config = DataConfig(name="mnist", transform="affine", scale_range=(0.5, 2.0))
    pose = Planar(config).draw(uniform(20_000, 16), torch.arange(20_000), 4)
    assert (
        stats.kstest(pose.log_scale.flatten()[::4].numpy(), stats.uniform(-np.log(2), 2 * np.log(2)).cdf).pvalue > 1e-4
    )


@pytest.mark.parametrize("transform", ["rotation", "affine"])
def test_sweeps_start_at_the_upright_image_and_never_visit_an_angle_twice(transform):
    planar = Planar(DataConfig(transform=transform))
    values, pose = planar.sweep("rotation", 36)
    assert (
        values[0] == 0
        and torch.equal(values, torch.arange(0, 360, 10.0))
        and torch.allclose(pose.angle, torch.deg2rad(values))
    )
    for factor in planar.sweep_factors[1:]:
        values, pose = planar.sweep(factor, 9)
        moved = {"shift_x": pose.shift[:, 0], "shift_y": pose.shift[:, 1], "scale": pose.log_scale}[factor]
        assert torch.equal(moved, values) and not pose.angle.any() and values[4].abs() < 1e-7


# --- glimpses


def glimpses(saliency=None, side=24, patch=8, **glimpse):
    return Glimpses(DataConfig(name="stl10", transform="glimpse", canvas=patch, glimpse=glimpse), side, saliency)


def test_fixations_follow_the_saliency_map():
    maps = torch.zeros(2, 24, 24, dtype=torch.uint8)
    maps[0, 3, 5], maps[0, 20, 7] = 200, 50
    maps[1, 10, 10] = 255
    transform = glimpses(maps, inhibition="none")
    first = transform.draw(uniform(4000, 1), torch.zeros(4000, dtype=torch.int64), 1)[:, 0]
    places, counts = torch.unique(first, dim=0, return_counts=True)
    assert places.tolist() == [[3, 5], [20, 7]] and float(counts[0] / 4000) == pytest.approx(0.8, abs=0.03)
    assert transform.draw(uniform(9, 1), torch.ones(9, dtype=torch.int64), 1).tolist() == [[[10, 10]]] * 9


def test_without_a_map_fixations_are_uniform():
    fixations = glimpses(inhibition="none").draw(uniform(40_000, 2), torch.arange(40_000), 2)
    counts = torch.bincount((fixations[:, 1, 0] * 24 + fixations[:, 1, 1]), minlength=576)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("inhibition", ["circle", "square", "none"])
def test_inhibition_of_return_has_the_stated_shape(inhibition):
    radius = None if inhibition == "none" else 5
    transform = glimpses(inhibition=inhibition, radius=radius)
    # the first fixation in the middle of the image, the second anywhere
    numbers = uniform(40_000, 2)
    numbers[:, 0] = (12 * 24 + 12 + 0.5) / 576
    fixations = transform.draw(numbers, torch.arange(40_000), 2)
    assert fixations[:, 0].unique(dim=0).tolist() == [[12, 12]]
    visited = torch.zeros(24, 24, dtype=torch.bool)
    visited[fixations[:, 1, 0], fixations[:, 1, 1]] = True
    axis = np.arange(24) - 12
    y, x = axis[:, None], axis[None]
    forbidden = {
        "circle": y**2 + x**2 <= 25,
        "square": (abs(y) <= 5) & (abs(x) <= 5),
        "none": np.zeros((24, 24), bool),
    }[inhibition]
    assert np.array_equal(visited.numpy(), ~forbidden)


def test_all_earlier_fixations_are_inhibited_and_a_used_up_map_is_no_error():
    maps = torch.zeros(1, 24, 24, dtype=torch.uint8)
    maps[0, 2, 2], maps[0, 2, 3] = 255, 255
    index = torch.zeros(500, dtype=torch.int64)
    fixations = glimpses(maps, inhibition="circle", radius=3).draw(uniform(500, 5), index, 5).double()
    apart = torch.cdist(fixations, fixations) + 99 * torch.eye(5)
    assert float(apart.min()) > 3
    # nothing but inhibited places: still a fixation inside the image
    crowded = glimpses(maps, inhibition="square", radius=24).draw(uniform(500, 5), index, 5)
    assert int(crowded.min()) >= 0 and int(crowded.max()) < 24


def test_a_patch_is_the_image_around_its_fixation_and_black_outside():
    images = torch.rand(3, 3, 24, 24)
    fixations = torch.tensor([[[12, 9], [0, 0]], [[4, 4], [23, 23]], [[5, 20], [20, 3]]])
    views = glimpses().render(images, fixations)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)))
    for number, view in enumerate(views):
        assert view.shape == (3, 3, 8, 8)
        for row in range(3):
            y, x = (fixations[row, number] + 8 - 4).tolist()
            assert np.array_equal(view[row].numpy(), padded[row, :, y : y + 8, x : x + 8])
    assert torch.equal(views[0][0], images[0, :, 8:16, 5:13])


def test_a_glimpses_action_is_the_eyes_movement_over_the_side():
    fixations = torch.tensor([[[12, 9], [0, 21], [6, 3]]])
    transform = glimpses()
    assert torch.allclose(transform.actions(fixations), torch.tensor([[[-12.0, 12.0], [6, -18]]]) / 24)
    assert torch.allclose(
        transform.actions(transform.reverse(fixations)), torch.tensor([[[-6.0, 18.0], [12, -12]]]) / 24
    )
    assert torch.allclose(transform.absolute(fixations)[0, 0], torch.tensor([0.5, 0.375]))


def test_the_saliency_of_a_set_reaches_its_fixations():
    data = {"name": "cifar10", "transform": "glimpse", "canvas": 8, "action_scale": "none"}
    images = load_images(run_of({**data, "glimpse": {"inhibition": "none"}}))
    assert images.extras["saliency"].shape == (80, 32, 32)
    peaked = (images.extras["saliency"].double() / 255).pow(6).mul(255).to(torch.uint8)
    salient = source({**data, "glimpse": {"inhibition": "none"}}, images=replace(images, extras={"saliency": peaked}))
    maps = peaked.double()
    even = source({**data, "glimpse": {"inhibition": "none", "saliency": "uniform"}})
    assert "saliency" not in even._images.extras
    scores = {}
    for name, views in (("salient", salient), ("even", even)):
        batches = [views.next() for _ in range(20)]
        index = torch.cat([b["index"] for b in batches])
        place = (torch.cat([b["poses"] for b in batches]) * 32).round().long()
        scores[name] = float(maps[index[:, None], place[..., 0], place[..., 1]].mean() / maps.mean())
    # a draw in proportion to the map meets E[s^2] / E[s]^2 of its mean
    expected = float((maps.square().mean((1, 2)) / maps.mean((1, 2))).mean() / maps.mean())
    assert (
        expected > 2
        and scores["salient"] == pytest.approx(expected, rel=0.1)
        and scores["even"] == pytest.approx(1, abs=0.3)
    )


# --- objects


def test_relative_quaternions_are_those_of_scipy():
    rotations = Rotation.random(200, random_state=0), Rotation.random(200, random_state=1)
    start, end = (torch.tensor(r.as_quat()) for r in rotations)
    expected = (rotations[0].inv() * rotations[1]).as_quat(canonical=True)
    for sign in (1, -1):  # q and -q are one rotation
        assert np.allclose(relative_quaternion(sign * start, end).numpy(), expected, atol=1e-12)
    back = relative_quaternion(end, start).numpy()
    assert np.allclose(back * [-1, -1, -1, 1], expected, atol=1e-12)


def objects(**data):
    quaternion = torch.tensor(Rotation.random(30 * 20, random_state=0).as_quat()).float().view(30, 20, 4)
    hue = uniform(30, 20)
    return ObjectViews(DataConfig(name="mini3d", transform="object", **data), quaternion, hue), quaternion, hue


def test_an_objects_views_are_different_and_equally_likely():
    transform, quaternion, _ = objects()
    index = torch.arange(30).repeat(200)
    p = transform.draw(uniform(6000, transform.numbers(4)), index, 4)
    assert all(len(set(row)) == 4 for row in p.view.tolist())
    assert stats.chisquare(torch.bincount(p.view.flatten(), minlength=20).numpy()).pvalue > 1e-4
    assert torch.equal(p.quaternion[7, 2], quaternion[index[7], p.view[7, 2]])
    assert torch.equal(transform.rows(index, p).view(4, -1)[2, :9], index[:9] * 20 + p.view[:9, 2])


def test_the_hue_is_part_of_the_action_on_request():
    plain, _, _ = objects()
    coloured, _, hue = objects(hue_action=True)
    index = torch.arange(30)
    p = coloured.draw(uniform(30, 20), index, 3)
    actions = coloured.actions(p)
    assert plain.parameters == 4 and coloured.parameters == 5 and coloured.factors["colour"] == slice(4, 5)
    assert torch.equal(actions[..., :4], plain.actions(p))
    seen = hue[index[:, None], p.view]
    assert torch.allclose(actions[..., 4], seen[:, 1:] - seen[:, :-1])


def test_a_batch_of_objects_shows_the_pictures_its_actions_describe():
    views = source({"name": "mini3d", "transform": "object", "action_scale": "none"})
    batch = views.next()
    pictures = (
        views._images.images[:].view(600, 20, 3, 32, 32) if isinstance(views._images.images, torch.Tensor) else None
    )
    quaternion = views._images.extras["quaternion"]
    for row in range(4):
        chosen = []
        for view in (*batch["observed"], *batch["target"]):
            same = (view[row] * 255 - pictures[batch["index"][row]].float()).abs().amax((1, 2, 3)) < 1e-3
            chosen.append(int(same.nonzero()[0]))
        turns = Rotation.from_quat(quaternion[batch["index"][row], chosen].numpy())
        expected = (turns[:-1].inv() * turns[1:]).as_quat(canonical=True)
        assert np.allclose(batch["actions"][row].numpy(), expected, atol=1e-5)
    first = views.images_of(batch["index"][:2])
    assert torch.allclose(first * 255, pictures[batch["index"][:2], 0].float())


# --- every transform

TRANSFORMS = {
    "augment": AUGMENT,
    "rotation": {"name": "cifar10", "transform": "rotation"},
    "affine": {"name": "mnist", "transform": "affine"},
    "glimpse": {"name": "cifar10", "transform": "glimpse", "canvas": 16, "glimpse": {"radius": 4}},
    "object": {"name": "3diebench", "transform": "object", "sizes": (16, 4, 4)},
    "stl10": {
        "name": "stl10",
        "transform": "glimpse",
        "unlabelled": 24,
        "action_scale": "none",
        "glimpse": {"saliency": "uniform"},
    },
}


def assert_same_batch(left, right, rows=slice(None)):
    assert left.keys() == right.keys()
    for name, value in right.items():
        if name in ("observed", "target"):
            assert all(torch.equal(a, b[rows]) for a, b in zip(left[name], value, strict=True)), name
        elif name != "step":
            assert torch.equal(left[name], value[rows]), name


@pytest.mark.parametrize("name", TRANSFORMS)
def test_draws_do_not_depend_on_workers_or_history(name):
    data, objective = TRANSFORMS[name], {"symmetric": True}
    images = load_images(run_of(data, 8, **objective))
    whole, first, second = (
        source(data, 8, rank, world, images, **objective) for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    for _ in range(6):  # five are an epoch
        batch = whole.next()
        for rank, share in enumerate((first, second)):
            assert_same_batch(share.next(), batch, slice(rank, None, 2))
    later = source(data, 8, images=images, **objective)
    later.load_state_dict({"step": 5})
    assert_same_batch(later.next(), batch)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_image_is_drawn_anew_each_epoch_and_with_each_seed(name):
    run = run_of(TRANSFORMS[name], 8)
    images = load_images(run)

    def epoch(number, seed):
        views = Views(run.model_copy(update={"seed": seed}), images, torch.float32)
        views.load_state_dict({"step": number * run.steps_per_epoch})
        batches = [views.next() for _ in range(run.steps_per_epoch)]
        index, poses = (torch.cat([b[key] for b in batches]) for key in ("index", "poses"))
        assert len(index.unique()) == len(index)
        return dict(zip(index.tolist(), poses, strict=True))

    first, later, other = epoch(0, 0), epoch(1, 0), epoch(0, 1)
    for changed in (later, other):
        assert not any(torch.equal(first[image], changed[image]) for image in first)
    assert all(torch.equal(poses, epoch(0, 0)[image]) for image, poses in list(first.items())[:2])


@pytest.mark.parametrize("name", ["augment", "object", "affine"])
def test_mapped_images_give_the_same_bits_as_resident_ones(tmp_path, name):
    data = TRANSFORMS[name]
    images = load_images(run_of(data))
    pixels = images.images.numpy()
    shards.write_shards(tmp_path, lambda start: iter(pixels[start:]), pixels.shape, 37, "")
    mapped = store.open_shards(tmp_path)
    other = ImageSet(mapped, images.labels, images.splits, images.split_hash, images.classes, images.extras)
    # a budget of nothing leaves them on disk
    assert isinstance(other.to(CPU, 0).images, store.MappedImages)
    size = 8
    left, right = source(data, size, images=images), source(data, size, images=other.to(CPU, 0))
    for step in (0, 1, 2, 7, 3):  # onwards, and after jumps: images are read ahead of use
        for views in (left, right):
            views.load_state_dict({"step": step})
        assert_same_batch(left.next(), right.next())
    fixed = [list(views.fixed("validation").batches(8)) for views in (left, right)]
    for one, two in zip(*fixed, strict=True):
        assert_same_batch(one, two)
    index = torch.tensor([3, 1])
    assert torch.equal(left.images_of(index), right.images_of(index))


@pytest.mark.parametrize("name", ["augment", "object", "affine", "glimpse"])
def test_normalisation_is_the_data_sets_after_rendering(name):
    data = TRANSFORMS[name]
    images = load_images(run_of(data))
    plain, normal = (source({**data, "normalize": how}, 8, images=images) for how in ("none", "dataset"))
    left, right = plain.next(), normal.next()
    mean, std = (np.array(row)[:, None, None] for row in SETS[data["name"]].statistics)
    for a, b in zip([*left["observed"], *left["target"]], [*right["observed"], *right["target"]], strict=True):
        assert np.allclose(b.numpy(), (a.numpy() - mean) / std, atol=1e-5)
    assert torch.equal(left["actions"], right["actions"])
    stored = images.images[: 2 * SETS[data["name"]].views : SETS[data["name"]].views].numpy() / 255
    assert np.allclose(normal.images_of(torch.tensor([0, 1])).numpy(), (stored - mean) / std, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_describes_itself(name):
    views = source(TRANSFORMS[name])
    batch = views.next()
    transform = views.transform
    assert batch["factors"].shape == (16, 3, transform.parameters) and batch["poses"].shape == (
        16,
        4,
        transform.parameters,
    )
    covered = torch.zeros(transform.parameters)
    for part in transform.factors.values():
        covered[part] += 1
    assert (covered == 1).all()
    assert views.action_dim == batch["actions"].shape[-1]
    assert all(
        torch.isfinite(view).all() and 0 <= float(view.min()) and float(view.max()) <= 1 for view in batch["observed"]
    )


def test_padding_appends_zeros_that_only_the_model_sees():
    plain, padded = source(AUGMENT).next(), source({**AUGMENT, "pad_action": 2})
    batch = padded.next()
    assert padded.action_dim == 11 and not batch["actions"][..., 9:].any()
    assert torch.equal(batch["actions"][..., :9], plain["actions"]) and torch.equal(batch["factors"], plain["factors"])


def test_unlabelled_images_are_drawn_too_and_have_no_class():
    views = source(TRANSFORMS["stl10"], 16)
    labels = torch.cat([views.next()["labels"] for _ in range(4)])
    # 40 labelled and 24 without a label make one epoch of 64
    assert int((labels < 0).sum()) == 24 and int(labels.max()) <= 9
