"""Images, random streams, poses, actions and batches."""

import dataclasses

import pytest
import torch
from small import config, views, whole

from trainer.data import images as images_module
from trainer.data import poses
from trainer.data.philox import Purpose, permutation, philox, uniforms
from trainer.data.planar import Planar


def words(*values):
    return tuple(torch.tensor([value]) for value in values)


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_known_answers(counter, key, expected):
    assert tuple(int(word) for word in philox(words(*counter), key)) == expected


def test_a_draw_depends_on_its_own_keys_only():
    index = torch.arange(50)
    all_at_once = uniforms(7, Purpose.TRAIN_VIEWS, 3, index, 10)
    alone = uniforms(7, Purpose.TRAIN_VIEWS, 3, index[20:21], 10)
    assert torch.equal(all_at_once[20:21], alone)
    others = [uniforms(8, Purpose.TRAIN_VIEWS, 3, index, 10), uniforms(7, Purpose.FIXED_VIEWS, 3, index, 10)]
    others.append(uniforms(7, Purpose.TRAIN_VIEWS, 4, index, 10))
    assert all((all_at_once != other).float().mean() > 0.99 for other in others)
    many = uniforms(0, Purpose.PROBE, 0, torch.arange(20000), 5)
    assert abs(float(many.mean()) - 0.5) < 0.005 and abs(float(many.var()) - 1 / 12) < 0.002
    assert float(many.min()) >= 0 and float(many.max()) < 1


def test_an_order_is_a_permutation_that_changes_with_epoch_and_seed():
    device = torch.device("cpu")
    first = permutation(0, 0, 1000, device)
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert (first != permutation(0, 1, 1000, device)).float().mean() > 0.99
    assert (first != permutation(1, 0, 1000, device)).float().mean() > 0.99


def test_splits_are_disjoint_complete_and_stratified(digits):
    parts = [digits.splits[name] for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1100, 300, 397]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1797))
    for part in parts:
        shares = torch.bincount(digits.labels[part], minlength=10) / torch.bincount(digits.labels)
        assert float((shares - len(part) / 1797).abs().max()) < 0.01


def test_the_images_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    assert torch.equal(digits.labels, torch.from_numpy(raw.target).long())
    assert float((digits.images[:, 0] * (16 / 255) - torch.from_numpy(raw.images)).abs().max()) < 0.04


def test_a_changed_split_is_refused(monkeypatch):
    monkeypatch.setitem(images_module.SPLIT_HASHES, "digits", "0" * 64)
    with pytest.raises(ValueError, match="split's hash"):
        images_module.load_images(config())


def smooth_image(size=48):
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return (
        torch.exp(-((x - 0.3) ** 2 + (y + 0.1) ** 2) / 0.05)
        + 0.6 * torch.exp(-((x + 0.2) ** 2 + (y - 0.35) ** 2) / 0.03)
    )[None, None]


@pytest.mark.parametrize("transform", ["rotation", "affine"])
def test_warping_a_view_by_its_action_gives_the_next_view_and_the_inverse_leads_back(transform):
    data = config(f"data.transform={transform}", "data.canvas=48", "data.content=48").data
    index = torch.arange(16)
    drawn = Planar(data).draw(uniforms(0, Purpose.TRAIN_VIEWS, 0, index, 8).double() * 0.6 + 0.2, index, 2)
    image = smooth_image().expand(16, -1, -1, -1)
    first, second = (poses.render(image, drawn[:, view], data) for view in (0, 1))
    forward, back = poses.relative(drawn[:, 0], drawn[:, 1]), poses.relative(drawn[:, 1], drawn[:, 0])
    assert float((poses.render(first, forward, data) - second).abs().mean()) < 0.004
    assert float((poses.render(second, back, data) - first).abs().mean()) < 0.004
    # a wrong action, for example no action at all, is far from it
    assert float((first - second).abs().mean()) > 0.03
    # and the label is the pose itself: undoing angle, scale and shift by hand restores the parameters
    label = forward.parameters(transform)
    assert torch.allclose(
        torch.atan2(label[:, 0], label[:, 1]).remainder(2 * torch.pi), forward.angle.remainder(2 * torch.pi)
    )
    there_and_back = poses.relative(drawn[:, 0], drawn[:, 0])
    assert float(there_and_back.shift.abs().max()) == 0 and float(there_and_back.log_scale.abs().max()) == 0


def test_a_quarter_turn_is_exact():
    data = config("data.canvas=8", "data.content=8").data
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    pose = poses.Poses(
        torch.tensor([torch.pi / 2], dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )
    # positive angles turn x towards y, clockwise on screen
    assert torch.allclose(poses.render(image, pose, data), torch.rot90(image, -1, (2, 3)), atol=1e-12)


def test_an_epoch_shows_each_image_at_most_draws_times_and_never_a_held_out_one(digits):
    run = config("data.draws_per_epoch=2")
    source, train = views(run, digits), set(digits.splits["train"].tolist())
    seen = torch.cat([source.next()["index"] for _ in range(run.steps_per_epoch)])
    assert set(seen.tolist()) <= train
    assert int(torch.bincount(seen).max()) == 2
    assert run.steps_per_epoch == 2200 // 64


def test_fixed_views_are_the_same_for_every_seed_and_differ_between_draws(digits):
    a, b = (whole(views(config(seed=seed), digits).fixed("validation", 2)) for seed in (0, 5))
    assert torch.equal(a["observed"][0], b["observed"][0]) and torch.equal(a["actions"], b["actions"])
    assert len(a["labels"]) == 600 and torch.equal(a["labels"][:300], a["labels"][300:])
    assert not torch.equal(a["observed"][0][:300], a["observed"][0][300:])


def test_switch_action_scale(digits):
    raw, scaled = (
        views(config(f"data.action_scale={scale}"), digits).next()["actions"] for scale in ("none", "feature_std")
    )
    ratio = (raw / scaled).flatten(0, 1)
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), atol=1e-5)
    # sine and cosine of a uniform angle have standard deviation 1/sqrt(2)
    assert torch.allclose(ratio[0], torch.full((2,), 0.5**0.5), rtol=0.03)


def test_switch_anchor_first(digits):
    anchored, free = (
        whole(views(config(f"data.anchor_first={flag}"), digits).fixed("train"))["poses"] for flag in ("true", "false")
    )
    assert torch.equal(anchored[:, 0], torch.tensor([0.0, 1.0]).expand(1100, 2))
    assert float(free[:, 0].std(0).min()) > 0.5
    assert torch.equal(anchored[:, 1:], free[:, 1:])


def test_switches_of_geometry(digits):
    base = views(config("data.transform=affine"), digits).next()["observed"][0]
    for change in ("data.max_angle=30", "data.max_shift=0.0", "data.max_log_scale=0.0", "data.content=6"):
        assert not torch.equal(views(config("data.transform=affine", change), digits).next()["observed"][0], base)
    assert views(config("data.canvas=14"), digits).next()["observed"][0].shape[-1] == 14
    assert len(views(config("data.observed_views=5"), digits).next()["observed"]) == 5
    assert views(config("data.transform=affine"), digits).next()["actions"].shape[-1] == 5


def test_images_are_read_only_in_effect(digits):
    before = digits.images.clone()
    source = views(config(), digits)
    for _ in range(3):
        source.next()
    whole(source.fixed("train"))
    assert torch.equal(digits.images, before)
    assert dataclasses.is_dataclass(digits) and digits.images.dtype == torch.uint8


def test_probes_beside_the_model_learn_from_train_labels_only():
    run = config("data.pretrain_on=train_and_validation", "data.sizes=[600,300,300]")
    images = images_module.load_images(run)
    source, known = views(run, images), set(images.splits["train"].tolist())
    for _ in range(run.steps_per_epoch):
        batch = source.next()
        inside = torch.tensor([int(i) in known for i in batch["index"]])
        assert torch.equal(batch["labels"] >= 0, inside) and not inside.all()
        assert torch.equal(batch["labels"][inside], images.labels[batch["index"][inside]])
    assert (whole(source.fixed("validation"))["labels"] >= 0).all()


def test_other_saliency_maps_are_another_arm(tmp_path):
    import hashlib

    import numpy as np

    from trainer import presets
    from trainer.errors import UsageError
    from trainer.record.identity import arm_id

    path = tmp_path / "maps.npy"
    base = [
        "data.generated=true",
        "data.sizes=[16,8,8]",
        "data.unlabelled=0",
        "optim.batch_size=8",
        "data.glimpse.saliency=file",
        f"runtime.saliency_file={path}",
    ]
    np.save(path, np.full((32, 96, 96), 7, dtype=np.uint8))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named, other = (
        presets.load("stl10_saccades", [*base, f"data.glimpse.map_sha256='{d}'"]) for d in (digest, "0" * 64)
    )
    assert arm_id(named) != arm_id(other)
    assert images_module.load_images(named).extras["saliency"].shape == (32, 96, 96)
    for wrong in (other, presets.load("stl10_saccades", base)):
        with pytest.raises(UsageError, match=digest):
            images_module.load_images(wrong)


def test_everything_spelled_out_is_the_same_arm():
    from trainer import presets
    from trainer.record.identity import arm_id

    ids = {
        arm_id(presets.load("stl10_saccades", words))
        for words in ([], ["data.sizes=[4000,1000,8000]"], ["data.unlabelled=100000"])
    }
    assert len(ids) == 1
