"""Every switch of H-JEPA acts: each test starts from a configuration, goes through the family's faces, and compares."""

import copy
from typing import get_args

import pytest
import torch
import torch.distributed as dist
from begun import Refused, begun
from process_group import join, together
from torch.nn.parallel import DistributedDataParallel

from trainer import families, presets
from trainer.__main__ import main
from trainer.config.data import DataConfig
from trainer.data.images import load_images
from trainer.errors import UsageError
from trainer.record.identity import arm_id
from trainer.record.run import comparable, read
from trainer.step import given, make_optimiser, optimise, total_loss

SMALL = [
    "model.encoder.width=16", "model.encoder.vit.heads=2", "model.encoder.vit.depth=2", "data.canvas=16",
    "model.encoder.vit.patch=2", "model.predictor.width=8", "model.predictor.depth=1", "optim.batch_size=8",
    "data.sizes=[64,32,32]", "eval.probe_epochs=[1]",
]  # fmt: skip
COLOUR = ["data.name=cifar10", "data.generated=true", "data.sizes=[32,16,16]"]
TWO = ["data.standard.views=2"]
CROPS = ["data.standard.locals={count: 2, side: 8}"]
FEATURES = {
    "attention": ["model.encoder.vit.attention=math"],
    "layer_scale": ["model.encoder.vit.layer_scale=1e-5", "model.encoder.vit.drop_path=0.3"],
    "augment": ["data.standard.recipe=deit3", "data.standard.mixup=0.8"],
    "rope": ["model.encoder.vit.positions=rope"],
    "checkpointing": ["model.encoder.vit.checkpointing=true"],
    "c_jepa": ["objective.weights.c_jepa=0.01", *TWO],
    "nt_xent": ["objective.weights.nt_xent=0.1", *TWO],
    "multi_crop": ["objective.locals=local_context", *CROPS],
    "fpn": ["model.levels=3", "model.fpn={width: 8}"],
    "sigreg": ["objective.weights.sigreg=0.02", "model.projector={hidden: 16, width: 8}"],
}
MIXED_SIZES = {"digits": (64, 32, 32), "mnist": (48, 24, 24), "cifar10": (32, 16, 16)}
MIXED = [
    "data.mixture=[{name: digits, weight: 6}, {name: mnist, weight: 3, sizes: [48, 24, 24]},"
    " {name: cifar10, weight: 1, sizes: [32, 16, 16]}]",
    "data.epoch_images=203",
    "data.generated=true",
]


def config(*words, **settings):
    settings = {"runtime.across_commits": True, "epochs": 2, "schedule.horizon_epochs": 4, **settings}
    return presets.load("h_jepa_digits", [*SMALL, "schedule.warmup_epochs=1", *words], settings)


def command(*words):
    """The command's words for a small run; the last of each key holds."""
    chosen = {word.partition("=")[0]: word for word in [*SMALL, "schedule.warmup_epochs=1", *words]}
    return ["--preset", "h_jepa_digits", *chosen.values()]


def built(*words):
    """Configuration, source and method of a run that the public command began."""
    return begun("h_jepa", command(*words))


def gradients(method, batch, weights=None):
    method.zero_grad()
    total_loss(method(batch).terms, weights or method.weights).backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def steps(run, source, method, count=2):
    optimiser = make_optimiser(run, method)
    return [optimise(run, step, method, method, optimiser, source.next())[1] for step in range(count)]


def test_it_resumes_bit_for_bit(tmp_path):
    words = ["model.levels=2", "model.encoder.vit.drop_path=0.2", "objective.weights.sigreg=0.02"]
    words = [*command(*words, "schedule.horizon_epochs=4"), "--across-commits", "--results-dir"]
    for part, epochs in (("whole", 2), ("parts", 1), ("parts", 2)):
        assert main([*words, str(tmp_path / part), "--epochs", str(epochs)]) == 0
    found, weights = [], []
    for part in ("whole", "parts"):
        (records,) = (tmp_path / part).rglob("records.jsonl")
        lines = [line for line in read(records) if line["event"] in ("epoch", "eval")]
        found.append([comparable({key: value for key, value in line.items() if key != "config"}) for line in lines])
        weights.append(torch.load(records.with_name("checkpoint.pt"), weights_only=True)["method"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert len(found[0]) == 5 and found[0] == found[1]
    metrics = found[0][-1]["metrics"]
    assert {"linacc/z_agg@1", "knn20/z_agg@1", "std/z_agg@1", "pair_cosine/z_agg@1", "rankme/z_agg@1"} <= metrics.keys()
    assert found[0][0]["metrics"]["chance_zero/z_hat@1"] == pytest.approx(1.7 * 0.4247, abs=1e-3)


WORKERS = {
    "pairs": [*FEATURES["c_jepa"], "objective.weights.nt_xent=0.1", "objective.weights.vicreg=0.1", *FEATURES["fpn"]],
    "levels": [
        "model.levels=3",
        *FEATURES["sigreg"],
        "objective.weights.rate=0.1",
        *CROPS,
        "objective.locals=cross_crop",
    ],
    "mixture": [*MIXED, "data.standard.mixup=0.8"],
}


def run_workers(rank, world, place, _, queue):
    torch.set_num_threads(1)
    join(place, rank, world)
    found = {name: [part.numpy() for part in of_workers(rank, world, words)] for name, words in WORKERS.items()}
    if rank == 0:
        queue.put(found)
    dist.destroy_process_group()


def of_workers(rank, world, words):
    run = config("precision=fp64", *words)
    family = families.load("h_jepa")
    source = family.source(run, load_images(run), torch.float64, rank, world)
    torch.manual_seed(0)
    method = family.make(run, source).double().train()
    wrapped = DistributedDataParallel(method, broadcast_buffers=False) if world > 1 else method
    optimiser, losses, found, shown = make_optimiser(run, method), [], [], []
    for step in range(4):
        batch = source.next()
        parts = [torch.empty_like(batch["index"]) for _ in range(world)]
        dist.all_gather(parts, batch["index"]) if world > 1 else parts[0].copy_(batch["index"])
        shown.append(torch.stack(parts, 1).flatten().double())
        loss = total_loss(wrapped(batch).terms, method.weights)
        optimiser.zero_grad()
        loss.backward()
        value = loss.detach().clone()
        if world > 1:
            dist.all_reduce(value)
        losses.append(value / world)
        found.append(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]))
        optimiser.step()
        method.after_step(given(method.schedule(step)))
    return torch.stack(losses)[:, None], torch.stack(found), torch.stack(shown)


def test_two_workers_equal_one():
    of_two = together(2, run_workers, None)[0]
    for name, words in WORKERS.items():
        for one, two in zip(of_workers(0, 1, words), map(torch.from_numpy, of_two[name]), strict=True):
            assert float(((one - two).norm(dim=-1) / one.norm(dim=-1)).max()) < 1e-9, name


def test_attention_is_the_named_kernel_in_encoder_and_predictor(monkeypatch):
    seen = []
    from trainer.blocks import attention, stack

    monkeypatch.setattr(stack, "kernel", lambda name: seen.append(name) or attention.kernel(name))
    found = {}
    for name in ("math", "flash"):
        _, source, method = built(f"model.encoder.vit.attention={name}")
        with torch.profiler.profile() as profile:
            found[name] = gradients(method, source.next())
        kernels = {e.key: e.count for e in profile.key_averages() if "_scaled_dot_product" in e.key}
        used = {"math": "aten::_scaled_dot_product_attention_math"}.get(
            name, "aten::_scaled_dot_product_flash_attention_for_cpu"
        )
        # two blocks of the context and of the target encoder, one of the predictor
        assert kernels[used] == 5 and len(seen) == 5
        seen.clear()
    for key, value in found["math"].items():
        torch.testing.assert_close(value, found["flash"][key], rtol=1e-4, atol=1e-5)
    with pytest.raises(Refused, match="attention = 'efficient' is a kernel of CUDA"):
        built("model.encoder.vit.attention=efficient", "--device", "cpu")


def test_probes_in_float32_take_a_kernel_that_has_it(monkeypatch):
    """The rule is CUDA's of flash and cudnn; here it is the CPU's of a kernel that a CPU does not have."""
    from trainer.blocks import attention

    table = {("flash", "cuda"): "auto", ("cudnn", "cuda"): "auto", ("efficient", "cuda"): "efficient"}
    table |= {("math", "cuda"): "math", ("flash", "cpu"): "flash", ("auto", "cuda"): "auto"}
    assert {key: attention.measuring(*key) for key in table} == table
    with torch.autocast("cpu", torch.bfloat16):
        monkeypatch.setattr(attention, "HALF_ONLY", {"cpu": ("efficient",)})
        assert attention.measuring("efficient", "cpu") == "efficient"
    vit = "{name: vit, width: 16, vit: {patch: 4, depth: 1, heads: 2, attention: efficient}}"
    run = presets.load("digits", [f"model.encoder={vit}", "optim.batch_size=8", "data.sizes=[64,32,32]"])
    family, images = families.load("seq_jepa"), load_images(run)
    source = family.source(run, images, torch.float32)
    method = family.make(run, source)
    assert family.probes(run, images, source, method, torch.device("cpu")).at_start(method, True)
    with pytest.raises(UsageError, match="attention = 'efficient': that kernel cannot be had"):
        method.train()(source.next())


def test_layer_scale_adds_gains_that_start_small_and_leaves_stochastic_depth():
    _, _, without = built()
    run, source, method = built("model.encoder.vit.layer_scale=1e-6", "model.encoder.vit.drop_path=0.5")
    gains = {name: p for name, p in method.online.named_parameters() if "gamma" in name}
    assert len(gains) == 4 and sum(p.numel() for p in gains.values()) == 2 * 16 * 2
    assert not any("gamma" in name for name, _ in without.named_parameters())
    assert sum("gamma" in name for name in method.average.state_dict()) == 4
    undecayed = {id(p) for p in method.parameter_groups()[1].params}
    assert all(id(p) in undecayed for p in gains.values())
    found = gradients(method, source.next())
    assert any(float(found[f"online.{name}"].abs().max()) > 0 for name in gains)
    x = torch.randn(2, 5, 16)
    stack = method.encoder.stack
    method.eval()
    torch.testing.assert_close(stack(x, None), stack.norm(x), rtol=0, atol=1e-4)
    method.train()
    with torch.no_grad():
        for p in gains.values():
            p.fill_(1.0)
    assert not torch.equal(stack(x, None), stack(x, None))


def test_rope_is_the_place_of_the_patch_and_hidden_pixels_are_never_seen():
    _, source, method = built("model.encoder.vit.positions=rope")
    encoder, images = method.encoder.eval(), source.next()["views"][0]
    assert not any("pos" in name for name, _ in method.named_parameters())
    keep = torch.tensor([[3, 17, 40, 9, 60]]).expand(8, -1)
    order = torch.tensor([4, 2, 0, 1, 3])
    found = encoder.tokens(images, keep)
    torch.testing.assert_close(encoder.tokens(images, keep[:, order]), found[:, order], rtol=0, atol=1e-5)
    changed = images.clone()
    changed[..., 8:10, 12:14] += 1.0  # patch 38
    assert torch.equal(encoder.tokens(changed, keep), found)
    moved = encoder.tokens(images.roll((4, 4), (2, 3)), keep + 18 * (keep < 46))
    assert moved.shape == found.shape and encoder.tokens(images[..., :12, :12]).shape[1] == 36
    _, _, plain = built()
    plain.load_state_dict(method.state_dict())
    assert not torch.allclose(plain.encoder.eval().tokens(images, keep), found)


def test_checkpointing_saves_activations_and_changes_no_gradient():
    found, saved, runs = {}, {}, {}
    for on in (False, True):
        _, source, method = built(
            f"model.encoder.vit.checkpointing={str(on).lower()}", "model.encoder.vit.drop_path=0.3", "precision=fp64"
        )
        count, blocks = [], {"encoder": 0, "predictor": 0}
        for part, stack in (("encoder", method.encoder.stack), ("predictor", method.predictor.stack)):

            def hook(*_, part=part, blocks=blocks):
                blocks[part] += 1

            stack.blocks[-1].norm1.register_forward_pre_hook(hook)
        batch = source.next()
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: count.append(t.numel()) or t, lambda t: t):
            found[on] = gradients(method, batch)
        saved[on], runs[on] = sum(count), blocks
    for name, value in found[False].items():
        torch.testing.assert_close(found[True][name], value, rtol=1e-9, atol=1e-12)
    assert runs == {False: {"encoder": 1, "predictor": 1}, True: {"encoder": 2, "predictor": 2}}
    print(f"saved numbers: {saved[False]} -> {saved[True]}")
    assert saved[True] < 0.5 * saved[False]


@pytest.mark.parametrize("name", ["c_jepa", "nt_xent"])
def test_losses_that_compare_views_reach_the_encoder_and_need_two(name):
    _, source, method = built(*FEATURES[name], "precision=fp64")
    batch = source.next()
    alone = {key: 1.0 if key == name else 0.0 for key in method.weights}
    found = gradients(method, batch, alone)
    assert float(found["online.encoder.embed.weight"].abs().max()) > 0 and not any("predictor" in key for key in found)
    value = float(method(batch).terms[name].detach())
    swapped = dict(batch, views=[batch["views"][0], batch["views"][1].roll(1, 0)])
    assert float(method(swapped).terms[name].detach()) > value
    with pytest.raises(Refused, match=rf"objective.weights.{name} = .* needs data.standard.views of 2 or more"):
        built(FEATURES[name][0])


@pytest.mark.parametrize("name", ["rate", "sigreg", "vicreg"])
@pytest.mark.parametrize("on", ["agg", "z", "both"])
def test_what_spreads_features_reaches_the_encoder(name, on):
    _, source, method = built(f"objective.weights.{name}=0.1", f"objective.{name}.on={on}")
    alone = {key: 1.0 if key == name else 0.0 for key in method.weights}
    found = gradients(method, source.next(), alone)
    assert float(found["online.encoder.embed.weight"].abs().max()) > 0
    assert not any("predictor" in key for key in found)


@pytest.mark.parametrize("use", ["local_context", "cross_crop"])
def test_small_crops_are_encoded_placed_and_matter(use):
    _, source, method = built(f"objective.locals={use}", *CROPS)
    batch, seen = source.next(), []
    method.encoder.register_forward_pre_hook(lambda *_: None)
    embed = method.encoder.embed.register_forward_hook(lambda _, x, y: seen.append((len(x[0]), x[0].shape[-1])))
    value = total_loss(method(batch).terms, method.weights)
    embed.remove()
    assert sorted(seen) == [(8, 16), (16, 8)]
    changed = dict(batch, locals=[batch["locals"][0] + 0.5, batch["locals"][1]])
    assert not torch.equal(total_loss(method(changed).terms, method.weights), value)
    moved = dict(batch, local_boxes=batch["local_boxes"] + torch.tensor([2.0, 1.0, 0.0, 0.0]))
    assert not torch.equal(total_loss(method(moved).terms, method.weights), value)
    with pytest.raises(Refused, match="objective.locals = None and data.standard.locals go together"):
        built(*CROPS)


def test_a_small_crop_lies_where_it_was_cut():
    from trainer.families.h_jepa.small_crops import in_frame

    batch = {
        "locals": [torch.zeros(1, 1, 8, 8)], "boxes": torch.tensor([[[0.0, 4.0, 8.0, 8.0]]]),
        "flips": torch.tensor([[False]]), "local_boxes": torch.tensor([[[2.0, 4.0, 4.0, 4.0]]]),
        "local_flips": torch.tensor([[False]]),
    }  # fmt: skip
    places = in_frame(batch, 0, 8, 4)[
        0, 0
    ]  # the view's 8 patches cover 8 pixels; the crop's 2 x 2 patches 2 pixels each
    assert places.tolist() == [[2.5, 0.5], [2.5, 2.5], [4.5, 0.5], [4.5, 2.5]]
    mirrored = in_frame(dict(batch, flips=torch.tensor([[True]])), 0, 8, 4)[0, 0]
    assert mirrored.tolist() == [[2.5, 6.5], [2.5, 4.5], [4.5, 6.5], [4.5, 4.5]]
    both = dict(batch, flips=torch.tensor([[True]]), local_flips=torch.tensor([[True]]))
    assert in_frame(both, 0, 8, 4)[0, 0].tolist() == [[2.5, 4.5], [2.5, 6.5], [4.5, 4.5], [4.5, 6.5]]


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_the_pyramid_is_two_dimensional_goes_down_and_is_trained(merge):
    run, source, method = built("model.levels=3", f"model.fpn={{width: 8, merge: {merge}}}", "precision=fp64")
    batch = source.next()
    found = gradients(method, batch)
    trained = [name for name in found if "pyramid" in name]
    assert len(trained) == (16 if merge == "concat" else 12)
    assert all(float(found[name].abs().max()) > 0 for name in trained)
    pyramid, tokens = method.online, torch.randn(1, 64, 16, dtype=torch.float64)
    levels = pyramid.maps(tokens)
    assert [one.shape[1:] for one in levels] == [(64, 8), (16, 8), (4, 8)]
    from trainer.families.h_jepa.levels import as_map, pooled_maps

    maps = pooled_maps(as_map(tokens), 3)
    bumped = [maps[0], maps[1], maps[2] + torch.eye(2, dtype=torch.float64)]
    assert not torch.equal(pyramid.pyramid(bumped)[0], pyramid.pyramid(maps)[0])
    up = pyramid.pyramid([maps[0] + 1, *maps[1:]])
    assert torch.equal(up[2], pyramid.pyramid(maps)[2]) and not torch.equal(up[0], pyramid.pyramid(maps)[0])
    before = copy.deepcopy(method.average.pyramid.state_dict())
    with torch.no_grad():
        for p in method.online.pyramid.parameters():
            p.add_(0.1)
    # the target's pyramid is its own
    assert all(torch.equal(value, before[name]) for name, value in method.average.pyramid.state_dict().items())
    value = total_loss(method(batch).terms, method.weights)
    with torch.no_grad():
        for p in method.average.pyramid.parameters():
            p.add_(torch.randn_like(p))
    assert not torch.equal(total_loss(method(batch).terms, method.weights), value)


@pytest.mark.parametrize("fpn", [[], ["model.fpn={width: 8}"]])
def test_levels_have_terms_and_their_weights_act(fpn):
    _, source, method = built("model.levels=3", *fpn, "precision=fp64")
    batch = source.next()
    terms = method(batch).terms
    assert sorted(terms) == ["level0", "level1", "level2"]
    total = 1.0 * terms["level0"] + 0.7 * terms["level1"] + 0.5 * terms["level2"]
    torch.testing.assert_close(total_loss(terms, method.weights), total)
    _, _, without = built("model.levels=3", "objective.level_weights=[1.0, 0.7, 0.0]", *fpn, "precision=fp64")
    without.load_state_dict(method.state_dict())
    assert "level2" not in without(batch).terms
    if not fpn:
        assert float(gradients(without, batch)["predictor.level"][2].abs().max()) == 0
    with pytest.raises(Refused, match="must have one weight per level, model.levels = 2"):
        built("model.levels=2", "objective.level_weights=[1]")


def test_three_augment_is_one_of_three_and_the_recipes_differ():
    plain = ["data.standard.crop_scale=[1, 1]", "data.canvas=32", "data.normalize=none"]
    _, source, _ = built(*COLOUR, "data.standard.recipe=deit3", *plain)
    from trainer.data import recipes
    from trainer.data.philox import Purpose, uniforms

    drawn = recipes.colours(recipes.RECIPES["deit3"], uniforms(0, Purpose.PROBE, 0, torch.arange(3000), 12))
    each = torch.stack([drawn.grey, drawn.solarize, drawn.blur])
    assert torch.equal(each.sum(0), torch.ones(3000, dtype=torch.int64))
    assert ((each.float().mean(1) - 1 / 3).abs() < 0.04).all() and drawn.jitter_on.all()
    assert float((drawn.jitter[:, :3] - 1).abs().max()) <= 0.3 and float(drawn.jitter[:, 3].abs().max()) == 0
    batch = source.next()
    assert not torch.allclose(batch["views"][0], source.whole(batch["index"]))
    views = torch.cat([source.next()["views"][0] for _ in range(30)])  # generated pixels are of any colour
    grey = (views - views[:, :1]).abs().amax((1, 2, 3)) < 1e-5
    assert abs(float(grey.double().mean()) - 1 / 3) < 0.1
    for untouched in (["recipe=whole"], ["recipe=ijepa", "crop_scale=[1, 1]"]):
        words = [f"data.standard.{word}" for word in untouched]
        _, whole, _ = built(*COLOUR, *words, "data.canvas=32", "model.encoder.vit.patch=4")
        batch = whole.next()
        torch.testing.assert_close(batch["views"][0], whole.whole(batch["index"]), rtol=0, atol=1e-5)
    for recipe in ("ijepa", "deit", "lejepa"):
        _, other, _ = built(*COLOUR, f"data.standard.recipe={recipe}")
        first = other.next()["views"][0]
        other.load_state_dict({"step": 0})
        assert torch.equal(other.next()["views"][0], first) and not torch.equal(other.next()["views"][0], first)
    with pytest.raises(Refused, match="standard.recipe = 'deit3' needs colour images"):
        built("data.standard.recipe=deit3")


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_are_mixed_with_others_of_the_batch(kind):
    from trainer.data.mixing import draw_mixing

    words = [*COLOUR, "data.standard.recipe=whole", "data.canvas=32", "model.encoder.vit.patch=4"]
    _, plain, _ = built(*words)
    _, source, _ = built(*words, f"data.standard.{kind}=1.0")
    for _ in range(4):
        x, batch = plain.next()["views"][0], source.next()
        mixing = draw_mixing(0, int(batch["step"]), 8, *((1.0, None) if kind == "mixup" else (None, 1.0)))
        found, other, kept = batch["views"][0], x[mixing.partner], mixing.kept
        if kind == "mixup":
            torch.testing.assert_close(found, kept * x + (1 - kept) * other)
            continue
        assert ((found == x) | (found == other)).all()
        mixed = (mixing.partner != torch.arange(8)).nonzero()[:, 0]
        share = ((found == other) & (found != x))[mixed].double().mean((1, 2, 3))
        assert ((share - (1 - kept)).abs() < 1 / 16).all()  # of whole pixels


def test_every_pair_of_features_takes_two_steps_and_all_together_too():
    names = sorted(FEATURES)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]] + [tuple(names)]
    assert len(pairs) == 46
    for pair in pairs:
        words = [word for name in pair for word in FEATURES[name]]
        run, source, method = built(*COLOUR, *words)
        losses = torch.stack(steps(run, source, method))
        assert torch.isfinite(losses).all(), pair
    terms = method(source.next()).terms
    assert terms.keys() == {"level0", "level1", "level2", "c_jepa", "nt_xent", "sigreg"}
    assert len({arm_id(config(*COLOUR, *words)) for words in FEATURES.values()}) == len(FEATURES)


SENSE = {
    "standard": ("h_jepa", "digits"), "rotation": ("seq_jepa", "digits"), "affine": ("seq_jepa", "digits"),
    "augment": ("seq_jepa", "cifar10"), "glimpse": ("seq_jepa", "cifar10"), "object": ("seq_jepa", "mini3d"),
}  # fmt: skip


@pytest.mark.parametrize("transform", get_args(DataConfig.model_fields["transform"].annotation))
def test_sources_go_with_the_families_that_can_use_them(transform, capsys, tmp_path):
    fits, name = SENSE[transform]
    for family, preset in (("seq_jepa", "digits"), ("h_jepa", "h_jepa_digits")):
        words = ["--preset", preset, f"data={{name: {name}, transform: {transform}}}", "--results-dir", str(tmp_path)]
        code, (out, err) = main([*words, "--dry-run"]), capsys.readouterr()
        if fits == family:
            assert code == 0 and f"transform: {transform}\n" in out
        else:
            assert code == 2 and err.startswith(f"error: data.transform = '{transform}': family {family} ")
            assert err.count("\n") == 1


def test_seq_jepa_takes_the_vision_transformer_and_what_spreads_features():
    words = [
        "model.encoder={name: vit, width: 16, vit: {patch: 4, depth: 1, heads: 2}}",
        "objective.weights.sigreg=0.02",
    ]
    run = presets.load("digits", [*words, "objective.weights.vicreg=0.1", "optim.batch_size=8"])
    family = families.load("seq_jepa")
    source = family.source(run, load_images(run), torch.float32)
    method = family.make(run, source)
    before = method.encoder.embed.weight.detach().clone()
    assert torch.isfinite(torch.stack(steps(run, source, method))).all()
    assert not torch.equal(method.encoder.embed.weight, before) and family.epoch_macs(run) > 0


def test_a_mistake_is_one_line():
    for words, said in (
        (["model.encoder={name: conv, width: 8}"], "only vit can leave out hidden patches"),
        (["data.canvas=18"], "must be a multiple of model.encoder.vit.patch = 4"),
        (["model.encoder.vit.heads=5"], "heads = 5 must divide the width 48"),
        (["model.fpn={width: 8}"], "has a meaning only with model.levels of 2 or more"),
        (["model.projector={width: 8}"], "all their weights are 0"),
        (["model.levels=4"], "would be one cell"),
        (["model.levels=2", "model.fpn=true"], "model.fpn = True: holds settings of its own .merge, width.; write"),
        (["objective.locals=cross_crop", *CROPS, "objective.weights.cross=0"], "leaves the small crops without a use"),
        (["model.levels=2", "model.fpn.width=1"], "model.fpn.width = 1: input should be greater than or equal to 2"),
        (["family=seq_jepa"], "model.predictor = .* should be a valid string"),
        (["model.masks.min_keep=60"], "take fewer"),
        (
            ["objective.teacher=shared"],
            "has a meaning only with objective.teacher=ema; .* null where a preset gives it",
        ),
        (["objective.ema.decay=0.9"], "say the same thing; give one, and null for what a preset gives"),
        (["data.observed_views=2"], "must be 1 with data.transform=standard"),
    ):
        with pytest.raises(Refused, match=said):
            begun("h_jepa", ["--preset", "h_jepa_digits", *words])
    for words in (
        "objective.teacher=shared objective.ema=null",
        "objective.ema.half_life=null objective.ema.decay=0.9",
    ):
        config(*words.split())
