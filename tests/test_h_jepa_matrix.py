"""What the matrix of H-JEPA's features asks beside test_h_jepa.py, of runs that the public command began or trained."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_h_jepa import COLOUR, FEATURES, TWO, built, command, gradients
from test_h_jepa_command import EXACT, SHORT
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from trainer.__main__ import main
from trainer.families.h_jepa.config import block_size
from trainer.families.h_jepa.method import HJEPA
from trainer.step import total_loss

ALL = [*COLOUR, "precision=fp64", *(word for words in FEATURES.values() for word in words)]


# --- kernels, gains, places, checkpointing


def test_the_product_of_query_and_key_depends_on_their_offset_only(monkeypatch):
    """Patches of one colour differ in nothing but their places."""
    seen, plain = [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, *rest, **more: seen.append((q, k)) or plain(q, k, *rest, **more)
    )
    for words, spread in ((["model.encoder.vit.positions=rope"], True), ([], False)):
        _, _, method = built(*words)
        seen.clear()
        method.encoder.eval().tokens(torch.ones(1, 1, 16, 16))
        query, key = seen[0]
        products = (query.detach() @ key.transpose(2, 3))[0, 0].view(8, 8, 8, 8)
        same = torch.stack([products[r, c, r + 2, c + 1] for r in range(6) for c in range(7)])
        others = torch.stack([products[2, 2, r, c] for r in range(8) for c in range(8)])
        tolerance = 1e-4 * float(others.std().detach())
        assert (float(same.std()) < tolerance) == spread and float(others.std()) > 0


def test_gains_are_in_the_checkpoint_of_both_encoders_and_moved(tmp_path):
    assert main([*command(*SHORT, "model.encoder.vit.layer_scale=1e-5"), "--results-dir", str(tmp_path)]) == 0
    (path,) = tmp_path.rglob("checkpoint.pt")
    state = torch.load(path, weights_only=True)["method"]
    gains = {name: value for name, value in state.items() if "gamma" in name}
    assert sorted({name.partition(".")[0] for name in gains}) == ["average", "online"] and len(gains) == 8
    assert all(not torch.equal(value, torch.full_like(value, 1e-5)) for value in gains.values())


def test_nothing_is_computed_again_where_nothing_is_trained():
    _, source, method = built("model.encoder.vit.checkpointing=true")
    count = []
    method.predictor.stack.blocks[0].norm1.register_forward_pre_hook(lambda *_: count.append(1))
    gradients(method.eval(), source.next())
    assert len(count) == 1


# --- masks and small crops


def test_masks_of_a_run_are_rectangles_apart_from_what_is_shown_and_of_seed_and_step():
    words = ["model.masks.target_scale=[0.1, 0.2]"]
    run, source, _ = built(*words)
    _, again, _ = built(*words)
    _, other, _ = built(*words, "--seed", "1")
    config, sizes, differ = run.model.masks, set(), 0
    for _ in range(30):
        (masks,), (same,), (seeded,) = (one.next()["masks"] for one in (source, again, other))
        cells = masks.levels[0].cells
        assert torch.equal(masks.shown, same.shown) and torch.equal(cells, same.levels[0].cells)
        differ += not torch.equal(cells, seeded.levels[0].cells) if cells.shape == seeded.levels[0].cells.shape else 1
        assert masks.shown.shape == (8, masks.shown.shape[1]) and masks.shown.shape[1] > config.min_keep
        rows, columns = cells // 8, cells % 8
        high, wide = (one.amax(-1) - one.amin(-1) + 1 for one in (rows, columns))
        assert (high * wide == cells.shape[2]).all()  # full rectangles
        assert len({*zip(high.flatten().tolist(), wide.flatten().tolist(), strict=True)}) == 1  # of one size
        sizes.add((int(high[0, 0]), int(wide[0, 0])))
        hidden = torch.zeros(8, 64, dtype=torch.bool).scatter_(1, cells.flatten(1), True)
        assert not hidden.gather(1, masks.shown).any()
    possible = {block_size(u / 1000, 8, (0.1, 0.2), config.aspect, 8) for u in range(1000)}
    assert differ == 30 and len(sizes) > 1 and sizes <= possible


def test_what_a_run_hides_never_reaches_its_encoder():
    _, source, method = built("model.levels=2", "objective.weights.sigreg=0.02")
    batch, rows = source.next(), []
    left_out = torch.zeros(8, 64).scatter_(1, batch["masks"][0].left_out, 1.0).view(8, 1, 8, 8)
    pixels = F.interpolate(left_out, scale_factor=2.0)
    for view in (batch["views"][0], batch["views"][0] + pixels):
        output = method(dict(batch, views=[view]))
        rows.append((output.features["z_agg"], output.terms["sigreg"], output.terms["level0"]))
    (pooled, spread, loss), (pooled_too, spread_too, loss_too) = rows
    assert torch.equal(pooled, pooled_too) and torch.equal(spread, spread_too) and not torch.equal(loss, loss_too)


@pytest.mark.parametrize("use", ["local_context", "cross_crop", None])
def test_two_views_and_six_small_crops_are_encoded_each_at_its_size(use):
    crops = ["data.standard.locals={count: 6, side: 8}", f"objective.locals={use}"] if use else []
    _, source, method = built(*TWO, *crops, "precision=fp64")
    batch, seen = source.next(), []
    method.encoder.embed.register_forward_hook(lambda _, x, y: seen.append((len(x[0]), x[0].shape[-1])))
    value = total_loss(method(batch).terms, method.weights)
    assert sorted(seen) == [(8, 16), (8, 16), *([(48, 8)] if use else [])]
    for number in range(len(batch["locals"])):
        changed = [one + 0.5 * (number == place) for place, one in enumerate(batch["locals"])]
        assert not torch.equal(total_loss(method(dict(batch, locals=changed)).terms, method.weights), value)


def test_a_box_gives_the_crop_from_the_image():
    words = [
        *COLOUR,
        "data.canvas=32",
        "model.encoder.vit.patch=4",
        "data.normalize=none",
        "objective.locals=cross_crop",
    ]
    _, source, _ = built(*words, *TWO, "data.standard.locals={count: 2, side: 16}", "precision=fp64")
    batch = source.next()
    images = source.whole(batch["index"])
    parts = zip(*((batch[f"{kind}boxes"], batch[f"{kind}flips"]) for kind in ("", "local_")), strict=True)
    for cut, boxes, flips in zip((batch["views"], batch["locals"]), *parts, strict=True):
        for number, crops in enumerate(cut):
            for image, crop, box, flip in zip(images, crops, boxes[:, number], flips[:, number], strict=True):
                side = crop.shape[-1]
                wanted = resized_crop(image, *(int(one) for one in box), [side, side], InterpolationMode.BICUBIC)
                torch.testing.assert_close(crop, (wanted.flip(-1) if flip else wanted).clamp(0, 1), rtol=0, atol=1e-10)


# --- target, pyramid, regularisers


def test_the_target_of_a_run_follows_the_encoder_after_each_step(tmp_path, monkeypatch):
    found, plain, forward, shown = [], HJEPA.after_step, HJEPA.forward, []

    def weights(branch):
        return torch.cat([p.detach().flatten() for p in branch.parameters()]).double()

    def before(method, batch):
        shown.append((weights(method.online), weights(method.average)))
        return forward(method, batch)

    def after(method, scalars):
        online, (old_online, old) = weights(method.online), shown[-1]
        assert not torch.equal(online, old_online)  # the optimiser was there first
        plain(method, scalars)
        share = float(scalars["ema_decay"])
        torch.testing.assert_close(weights(method.average), share * old + (1 - share) * online, rtol=0, atol=1e-7)
        found.append(share)

    monkeypatch.setattr(HJEPA, "after_step", after)
    monkeypatch.setattr(HJEPA, "forward", before)
    words = [*SHORT, "model.levels=2", "model.fpn={width: 8}", "objective.ema={decay: 0.9}"]
    assert main([*command(*words), "--results-dir", str(tmp_path)]) == 0
    start, last = shown[0]
    assert torch.equal(start, last)  # the target begins as the encoder
    assert len(found) == 8 and found == pytest.approx([0.9 + 0.1 * step / 8 for step in range(8)])


def test_levels_of_an_odd_grid_are_14_7_and_4():
    for fpn in ([], ["model.fpn={width: 8}"], ["model.fpn={width: 8, merge: concat}"]):
        _, source, method = built("model.levels=3", "data.canvas=28", *fpn)
        tokens = method.target.encoder.tokens(source.next()["views"][0])
        assert [one.shape[1] for one in method.target.maps(tokens)] == [196, 49, 16]


def test_sigreg_of_a_run_sees_shape_scale_and_rank_and_whitens():
    _, _, method = built(*FEATURES["sigreg"], "objective.sigreg={slices: 32}")
    loss, step = method.regularisers["sigreg"], torch.tensor(0)
    rng = np.random.default_rng(0)

    def value(rows, at=0):
        return float(loss(torch.as_tensor(rows, dtype=torch.float32), torch.tensor(at)).value)

    null = np.mean([value(rng.normal(size=(512, 64)), at) for at in range(20)])
    assert null == pytest.approx(1.0525, abs=0.1)
    shapes = {
        "uniform": (rng.uniform(-(3**0.5), 3**0.5, (512, 1)), 13),
        "laplace": (rng.laplace(size=(512, 1)) / 2**0.5, 7),
    }
    shapes["signs"] = rng.choice([-1.0, 1.0], (512, 1)), 53
    rows = rng.normal(size=(512, 64))
    shapes |= {"small": (0.01 * rows, 206), "shifted": (rows + 5, 1090), "rank one": (rows[:, :1] * np.ones(64), 79)}
    shapes["collapsed"] = 1 + 1e-4 * rows, 569
    for name, (rows, about) in shapes.items():
        assert about / 2 < value(rows) < 2 * about, (name, value(rows))
    collapsed = torch.full((64, 16), 0.5) + 1e-4 * torch.randn(64, 16)
    collapsed.requires_grad_()
    loss(collapsed, step).value.backward()
    assert torch.isfinite(collapsed.grad).all() and float(collapsed.grad.abs().max()) > 0
    rows = torch.tensor(rng.normal(size=(256, 2)) @ np.linalg.qr(rng.normal(size=(16, 2)))[0].T, dtype=torch.float32)
    rows = (rows + 1e-3 * torch.tensor(rng.normal(size=(256, 16)))).float().requires_grad_()
    optimiser = torch.optim.Adam([rows], 0.1)
    for at in range(400):
        optimiser.zero_grad()
        loss(rows, torch.tensor(at)).value.backward()
        optimiser.step()
    shares = torch.linalg.svdvals(rows.detach() - rows.detach().mean(0)).square()
    shares = shares / shares.sum()
    assert float(torch.exp(-(shares * shares.log()).sum())) > 0.9 * 16
    assert float(rows.detach().std(0).mean()) == pytest.approx(1, abs=0.1)


# --- all together


def test_every_feature_still_acts_where_all_are_on(monkeypatch):
    from trainer.blocks import attention, stack

    kernels = []
    monkeypatch.setattr(stack, "kernel", lambda name: kernels.append(name) or attention.kernel(name))
    _, source, method = built(*ALL)
    batch, runs = source.next(), []
    method.encoder.stack.blocks[0].norm1.register_forward_pre_hook(lambda *_: runs.append(1))
    torch.manual_seed(0)
    terms = method(batch).terms
    total = total_loss(terms, method.weights)
    once = len(runs)
    total.backward()
    assert set(kernels) == {"math"} and once == 3 and len(runs) == 6  # two views and small crops, and all again
    trained = {name for name, p in method.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0}
    assert {part for part in ("gamma", "pyramid", "projector") if any(part in name for name in trained)} == {
        "gamma", "pyramid", "projector",
    }  # fmt: skip
    assert not any("pos" in name for name, _ in method.named_parameters())
    assert all(float(terms[name].detach()) != 0 for name in method.weights if method.weights[name])
    blank = dict(batch, locals=[torch.zeros_like(one) for one in batch["locals"]])
    torch.manual_seed(0)
    assert not torch.equal(total_loss(method(blank).terms, method.weights), total)
    alone = [[word] for name in ("augment", "layer_scale") for word in FEATURES[name]]
    for words in [*(FEATURES[name] for name in FEATURES if name not in EXACT), *alone]:
        dropped = {*words} - {*TWO}
        kept = [word for more in FEATURES.values() for word in more if word not in dropped]
        _, other_source, without = built(*COLOUR, "precision=fp64", *kept)
        torch.manual_seed(0)
        mine = {key: value for key, value in method.state_dict().items() if key in without.state_dict()}
        without.load_state_dict(mine, strict=False)
        value = total_loss(without(other_source.next()).terms, without.weights)
        assert torch.isfinite(value) and not torch.equal(value, total), words
