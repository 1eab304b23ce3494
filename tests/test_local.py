"""Local learning: the published terms, who is trained by what, and what is kept in memory."""

import numpy as np
import pytest
import torch
from oracles import Case
from small import config
from torch.autograd.graph import saved_tensors_hooks

from trainer.blocks.decorrelated import DecorrelatedConv
from trainer.data.images import load_images
from trainer.errors import UsageError
from trainer.families import seq_jepa
from trainer.families.seq_jepa.local.method import LocalJEPA
from trainer.families.seq_jepa.local.rule import RidgeHead
from trainer.loop import train
from trainer.losses.lpl import decorrelation, pull, push, stale_push, statistics
from trainer.probes import regression
from trainer.record.identity import run_id
from trainer.record.run import comparable, read
from trainer.step import make_optimiser, optimise, total_loss

ENCODER, AUXILIARY = "objective.local={stage: encoder}", "objective.local={stage: auxiliary}"
AGGREGATOR = "objective.local={stage: aggregator, warm_epochs: 1}"


@pytest.fixture(scope="module")
def images():
    return load_images(config())


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["pull", "push", "decorr", "total", "constant_feature_total", "unpooled_maps_total",
                                  "stale_second_batch_total"])  # fmt: skip
def test_the_terms_and_their_gradients_are_the_references(name):
    case = Case("lpl", name)
    one, two = (case.inputs[each].clone().requires_grad_() for each in ("z1", "z2"))
    z = torch.stack([one, two])
    if name.startswith("stale"):
        spread = stale_push(z, *statistics(torch.stack([case.inputs["z1_prev"], case.inputs["z2_prev"]])))
    else:
        spread = push(z)
    found = {"pull": pull(z[:-1], z[1:]), "push": spread, "decorr": decorrelation(z)}
    found["total"] = found["pull"] + found["push"] + 10 * found["decorr"]
    for term, value in found.items():
        case.equals(value, case.outputs[term])
    (asked,) = case.cotangents
    for grad, each in zip(torch.autograd.grad(found[asked], [one, two], allow_unused=True), ("z1", "z2"), strict=True):
        wanted = case.gradients[each]
        case.equals(torch.zeros_like(wanted) if grad is None else grad, wanted, "gradients")


def built(images, *words):
    run = config(*words)
    source = seq_jepa.source(run, images, torch.float32)
    torch.manual_seed(0)
    return run, source, seq_jepa.make(run, source)


def moved(method, loss):
    """Which parts have a gradient of a loss: blocks of the encoder, their rules, and the rest."""
    method.zero_grad()
    loss.backward()
    stages = [list(stage.parameters()) for stage in method.encoder.stages()]
    has = lambda ps: any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in ps)  # noqa: E731
    return [has(one) for one in stages], [has(rule.parameters()) for rule in method.rules]


@pytest.mark.parametrize("rule", ["lpl", "action_lpl"])
@pytest.mark.parametrize("encoder", ["conv", "stack", "resnet18"])
def test_a_blocks_loss_trains_that_block_and_the_main_loss_no_block(images, rule, encoder):
    width = ["model.encoder.width=8"] if encoder == "resnet18" else []
    words = [f"model.encoder.name={encoder}", *width, "model.heads=1"]
    run, source, method = built(images, *words, ENCODER, f"objective.local.rule={rule}")
    count = len(method.encoder.stages())
    assert count == {"conv": 3, "stack": 4, "resnet18": 4}[encoder]
    for number in range(count):
        method._losses, method._actions = [], (batch := source.next())["actions"]
        method.encode(batch["observed"])
        losses, method._actions = method._losses, None
        blocks, rules = moved(method, losses[number])
        assert blocks == [i == number for i in range(count)]
        assert rules == [i == number and rule == "action_lpl" for i in range(count)]
    terms = method(source.next()).terms
    assert moved(method, terms["predict"] + 0.1 * terms["rate"]) == ([False] * count, [False] * count)
    assert method.aggregator.token.grad is not None


def test_beside_the_main_loss_blocks_are_trained_by_both_and_cut_only_if_asked(images):
    for detach in (True, False):
        _, source, method = built(images, AUXILIARY, f"objective.local.detach_between={str(detach).lower()}")
        batch = source.next()
        method._losses, method._actions = [], batch["actions"]
        method.encode(batch["observed"])
        last, method._actions = method._losses[-1], None
        assert moved(method, last)[0] == [not detach, not detach, True]
        terms = method(batch).terms
        assert moved(method, terms["predict"])[0] == [True] * 3


def test_the_gradient_taken_ahead_is_the_gradient(images):
    """Cut blocks, against the same loss written with detached inputs."""
    run, source, method = built(images, ENCODER, "precision=fp64")
    method, batch = method.double(), source.next()
    batch = {k: [x.double() for x in v] if isinstance(v, list) else v.double() if v.is_floating_point() else v
             for k, v in batch.items()}  # fmt: skip
    total_loss(method(batch).terms, method.weights).backward()
    found = [p.grad.clone() for stage in method.encoder.stages() for p in stage.parameters()]
    from trainer.families.seq_jepa.local.rule import pooled

    x, whole = torch.cat(batch["observed"]), 0.0
    for stage, rule in zip(method.encoder.stages(), method.rules, strict=True):
        x = stage(x.detach())
        whole = whole + rule(pooled(x, 3), batch["actions"][:, :2].transpose(0, 1))
    own = [p for stage in method.encoder.stages() for p in stage.parameters()]
    for ours, theirs in zip(found, torch.autograd.grad(whole, own), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def peak(images, blocks, *words):
    """Most bytes of activations held for the backward pass at any time of a step."""
    run, source, method = built(images, "model.encoder.name=stack", f"model.encoder.blocks={blocks}", *words)
    batch = source.next()
    known = {p.data_ptr() for p in [*method.parameters(), *method.buffers()]}
    held = {"now": 0, "most": 0}

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            self.size = 0 if tensor.data_ptr() in known else tensor.numel() * tensor.element_size()
            held["now"] += self.size
            held["most"] = max(held["most"], held["now"])

        def __del__(self):
            held["now"] -= self.size

    with saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        output = method(batch)
        total_loss(output.terms, method.weights).backward()
    return held["most"]


def test_activations_of_a_local_encoder_do_not_grow_with_depth(images):
    local = [peak(images, blocks, ENCODER) for blocks in (4, 8, 16)]
    whole = [peak(images, blocks) for blocks in (4, 8, 16)]
    assert max(local) < 1.02 * min(local), local
    assert whole[1] > 1.3 * whole[0] and whole[2] > 1.5 * whole[1], whole
    assert local[2] < 0.5 * whole[2]


def step(images, *words, steps=1):
    run, source, method = built(images, *words)
    before = [[p.detach().clone() for p in stage.parameters()] for stage in method.encoder.stages()]
    optimiser = make_optimiser(run, method)
    for number in range(steps):
        optimise(run, number, method, method, optimiser, source.next())
    return [
        torch.cat([(p.detach() - q).flatten() for p, q in zip(stage.parameters(), old, strict=True)])
        for stage, old in zip(method.encoder.stages(), before, strict=True)
    ], method


def test_a_blocks_rate_and_clipping_are_its_own(images):
    plain, _ = step(images, ENCODER, "optim.weight_decay=0")
    slower, _ = step(images, ENCODER, "objective.local.lr_scale=[1,0.1,1]", "optim.weight_decay=0")
    assert torch.equal(plain[0], slower[0]) and torch.equal(plain[2], slower[2])
    torch.testing.assert_close(slower[1], 0.1 * plain[1], rtol=1e-3, atol=1e-7)
    with pytest.raises(UsageError, match="has 2 values, the encoder has 3 blocks"):
        built(images, ENCODER, "objective.local.lr_scale=[1,1]")
    norms = {}
    for clip in ("null", "0.01"):
        _, source, method = built(images, ENCODER, f"objective.local.clip_norm={clip}")
        method(source.next()).terms["local"].backward()
        own = [
            [*stage.parameters(), *rule.parameters()]
            for stage, rule in zip(method.encoder.stages(), method.rules, strict=True)
        ]
        norms[clip] = [float(torch.cat([p.grad.flatten() for p in ps if p.grad is not None]).norm()) for ps in own]
    assert norms["0.01"] == pytest.approx([min(0.01, n) for n in norms["null"]], rel=1e-4) and min(norms["null"]) > 0.01


def test_stale_statistics_stay_where_a_recorded_step_reads_them(images):
    _, source, method = built(images, "objective.local={stage: encoder, stale: true}")
    rule = method.rules[0]
    places = rule.mean.data_ptr(), rule.variance.data_ptr()
    method(source.next())
    assert (rule.mean.data_ptr(), rule.variance.data_ptr()) == places and bool(rule.mean.any())


@pytest.mark.parametrize(
    "change", ["rule=lpl", "pull=2", "push=0.5", "decorrelate=1", "stale=true", "whiten=0.1", "weight=2"]
)
def test_every_setting_acts(images, change):
    clip = ["optim.clip_norm=1"]  # the optimiser forgets how long a gradient is, the share of one block in it stays
    ours, theirs = (step(images, ENCODER, *clip, *more, steps=3)[0] for more in ([], [f"objective.local.{change}"]))
    assert any(not torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_frozen_encoder_rests_and_every_block_of_the_aggregator_has_a_loss_of_its_own(images):
    run, source, method = built(images, AGGREGATOR, "optim.weight_decay=0", "model.time_embedding=true")
    optimiser = make_optimiser(run, method)
    for number in range(run.steps_per_epoch):
        optimise(run, number, method, method, optimiser, source.next())
    assert bool(method.frozen)
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    optimise(run, run.steps_per_epoch, method, method, optimiser, source.next())
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.state_dict().items())
    for number in range(2):
        method.zero_grad()
        method._firsts, original = [], method.aggregator.forward
        method.aggregator.forward = method._blockwise
        batch = source.next()
        actions = method.action(batch["actions"])
        z, between = method.encode(batch["observed"]), actions[:, :-1]
        z_agg = method.aggregator(z, between)
        # block by block it is the aggregator that probes measure
        torch.testing.assert_close(z_agg, original(z, between))
        method.prediction_loss(z_agg, actions[:, -1], batch["target"][0])
        method.aggregator.forward = original
        method._losses[number].backward()
        layers = [any(p.grad is not None for p in layer.parameters()) for layer in method.aggregator.layers]
        assert layers == [i == number for i in range(2)]
        for one in (method.aggregator.token, method.aggregator.time.map.weight):
            assert (one.grad is not None) == (number == 0)
        method._firsts, method._losses = [], []


CACHED = ["objective.local={stage: aggregator, warm_epochs: 1, cached: true}", "objective.target_bn=ema_buffers_eval"]


def test_codes_of_a_frozen_encoder_are_computed_once_and_are_those_of_the_views(monkeypatch):
    found, count, words = {}, {}, [*CACHED, "data.sizes=[128,32,32]", "optim.batch_size=32"]
    images = load_images(config(*words))
    for kept in (True, False):
        if not kept:  # the same views, encoded again in every epoch
            monkeypatch.setattr(LocalJEPA, "_looked_up", lambda self, batch: batch)
        run, source, method = built(images, *words)
        optimiser, passes, losses, shown = make_optimiser(run, method), [], [], {}
        method.encoder.body[0].register_forward_hook(lambda *_, passes=passes: passes.append(1))
        for number in range(4 * run.steps_per_epoch):
            batch = source.next()
            for draw, pose in zip(batch["draw"].tolist(), batch["poses"], strict=True):
                shown.setdefault(draw, []).append(pose)
            before = len(passes)
            output, _ = optimise(run, number, method, method, optimiser, batch)
            losses.append(float((output.terms["local"] + output.terms["predict"]).detach()))
            if kept and number > run.steps_per_epoch:
                assert len(passes) == before and batch["observed"][0].numel() == 0
        poses = [torch.stack(one) for one in shown.values()]
        # new views while the encoder learns, and from then on the same again
        assert all(not torch.equal(one[0], one[1]) for one in poses)
        assert all(torch.equal(one[1], one[2]) and torch.equal(one[1], one[3]) for one in poses)
        found[kept], count[kept] = losses, len(passes)
    assert found[True] == pytest.approx(found[False], rel=1e-4) and count[True] < 0.5 * count[False]


def test_a_read_out_in_closed_form_is_ridge_regression_and_acts(images):
    torch.manual_seed(0)
    head, token = RidgeHead(6, 2, 3), torch.randn(40, 6, requires_grad=True)
    action, target = torch.randn(40, 2), torch.randn(40, 3)
    x = torch.cat([torch.nn.functional.layer_norm(token, (6,)), action, torch.ones(40, 1)], 1).detach().double().numpy()
    for name in ("first", "again"):  # the same rows once more are the same regression
        loss = head(token, action, target)
        gram = x.T @ x / 40
        weights = np.linalg.solve(gram + 1e-2 * np.trace(gram) / 9 * np.eye(9), x.T @ target.double().numpy() / 40)
        guess = x @ weights
        cosine = (
            (guess * target.numpy()).sum(1) / np.linalg.norm(guess, axis=1) / np.linalg.norm(target.numpy(), axis=1)
        )
        assert loss.item() == pytest.approx(1 - cosine.mean(), rel=1e-4), name
    loss.backward()
    assert token.grad.abs().sum() > 0 and not list(head.parameters())
    ends = []
    for readout in ("trained", "ridge"):
        words = f"objective.local={{stage: aggregator, warm_epochs: 1, readout: {readout}}}"
        run, source, method = built(images, words, "optim.batch_size=256")
        optimiser = make_optimiser(run, method)
        for number in range(run.steps_per_epoch + 3):
            optimise(run, number, method, method, optimiser, source.next())
        ends.append(method.aggregator.layers[0].linear1.weight.detach().clone())
    assert not torch.equal(*ends)


def test_lateral_weights_remove_correlations_and_follow_when_these_change():
    torch.manual_seed(0)
    block = DecorrelatedConv(torch.nn.Conv2d(6, 4, 3), 0.1)

    def correlation(x):
        rows = torch.nn.functional.conv2d(x, block.mix[:, :, None, None]).transpose(0, 1).flatten(1)
        return float((torch.corrcoef(rows) - torch.eye(6)).abs().mean())

    for _ in range(2):  # the second time other channels go together
        mixing = torch.randn(6, 6)
        draw = lambda: torch.einsum("ij,bjhw->bihw", mixing, torch.randn(32, 6, 5, 5))  # noqa: E731
        start = correlation(draw())
        for _ in range(150):
            block(draw())
        assert correlation(draw()) < 0.3 * start and correlation(draw()) < 0.1
    block.eval()
    mix = block.mix.clone()
    block(draw())
    assert torch.equal(mix, block.mix)


@pytest.mark.parametrize("words", [
    [AUXILIARY], [ENCODER, "objective.local.stale=true", "objective.local.whiten=0.05", "objective.teacher=ema"],
    [AGGREGATOR],
    ["objective.local={stage: aggregator, warm_epochs: 1, cached: true, readout: ridge}", CACHED[1]],
])  # fmt: skip
def test_every_stage_resumes_bit_for_bit(words, tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 2)
    small = ["data.sizes=[128,64,32]", "optim.batch_size=32", "eval.probe_epochs=[]", "gates={}", "model.layers=1"]
    whole, part = (config(*small, *words, epochs=epochs) for epochs in (3, 2))
    pictures = load_images(whole)
    train(whole, tmp_path / "whole", images=pictures)
    train(part, tmp_path / "parts", images=pictures)
    train(whole, tmp_path / "parts", images=pictures)
    one, other = (
        [
            comparable(line)["metrics"]
            for line in read(tmp_path / name / run_id(whole) / "records.jsonl")
            if line["event"] == "epoch"
        ]
        for name in ("whole", "parts")
    )
    assert len(one) == 3 and one == other


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.local={stage: encoder, warm_epochs: 3}"], "has a meaning only with local.stage=aggregator"),
        (["objective.local={stage: aggregator, pull: 1}"], "has a meaning only with local.stage=auxiliary or encoder"),
        (["objective.local={pull: 0, push: 0, decorrelate: 0}"], "nothing is learnt"),
        ([ENCODER, "objective.teacher=shared"], "would train the encoder end-to-end"),
        ([ENCODER, "objective.rate.on=z"], "no gradient of it reaches the encoder"),
        ([ENCODER, "objective.symmetric=true"], "is not defined"),
        (["objective.local={stage: aggregator, warm_epochs: 30}"], "nothing is learnt locally"),
        ([ENCODER, "data.observed_views=1"], "compares consecutive views"),
        (["objective.local={stage: encoder, readout: ridge}"], "readout = 'ridge' has a meaning only with"),
        (["objective.local={stage: auxiliary, cached: true}"], "cached = True has a meaning only with"),
        ([CACHED[0]], "must not depend on the batch it is in"),
        (
            [ENCODER, "data.stream.kind=classes", "schedule.horizon_epochs=5", "epochs=5"],
            "with data.stream is not defined",
        ),
        (["model.encoder.blocks=4"], "has a meaning only with encoder.name=stack"),
        (["objective.local={stage: auxiliary, detach_between: false, clip_norm: 1}"], "need local.detach_between=true"),
        (["objective.local={pull: 0}"], "take rule=lpl"),
        (["objective.local={push: 0, stale: true}"], "stale = True has a meaning only with"),
        ([AGGREGATOR, "model.condition=none"], "take rule=lpl"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(words, message):
    with pytest.raises(UsageError) as found:
        config(*words)
    assert message in str(found.value) and "\n" not in str(found.value)
