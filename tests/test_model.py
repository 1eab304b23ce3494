"""seq-JEPA's modules and switches: each switch changes the loss, a gradient or the output."""

import math

import pytest
import torch
import torch.nn.functional as F
from small import config, method, views

from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.transformer import _first_token
from trainer.families.seq_jepa.config import EmaConfig
from trainer.families.seq_jepa.target import ema_decay, pooled
from trainer.losses.coding_rate import CodingRate


@pytest.fixture
def batch(digits):
    return views(config(), digits).next()


def loss_of(run, batch):
    model = method(run)
    output = model(batch)
    weights = run.objective.weights
    (weights.predict * output.terms["predict"] + weights.rate * output.terms["rate"]).backward()
    return model, output


def test_shapes_and_terms(batch):
    model, output = loss_of(config(), batch)
    assert output.features["z"].shape == (64, 3, 16) and output.features["z_agg"].shape == (64, 24)
    assert output.terms.keys() == {"predict", "rate"}
    assert not any(feature.requires_grad for feature in output.features.values())
    assert float(output.features["z"].min()) >= 0
    assert {"rate_nats/agg", "rate_utilisation/agg", "last_norm_gain/agg"} <= output.health.keys()


def test_prediction_loss_is_the_mean_cosine_distance_to_the_target_code(batch):
    model = method(config()).double()
    wide = {
        **batch,
        "observed": [v.double() for v in batch["observed"]],
        "target": [batch["target"][0].double()],
        "actions": batch["actions"].double(),
    }
    model.train()
    z = model.encode(wide["observed"])
    actions = model.action(wide["actions"])
    agg = model.aggregator(z, actions[:, :-1])
    guess = model.predictor(torch.cat([agg, actions[:, -1]], 1)).detach().numpy()
    target = pooled(model.encoder, wide["target"][0]).detach().numpy()
    cosine = (guess * target).sum(1) / ((guess**2).sum(1) ** 0.5 * (target**2).sum(1) ** 0.5)
    assert float(model(wide).terms["predict"].detach()) == pytest.approx(1 - cosine.mean(), rel=1e-9)


def test_the_aggregate_reads_every_view_and_action_but_not_the_target(batch):
    model = method(config()).eval()
    z = model.encode(batch["observed"]).detach().requires_grad_()
    actions = model.action(batch["actions"]).detach().requires_grad_()
    model.aggregator(z, actions[:, :-1]).square().sum().backward()
    assert (z.grad.abs().sum((0, 2)) > 0).all()
    assert (actions.grad.abs().sum((0, 2)) > 0).tolist() == [True, True, False]


def test_views_are_told_apart_only_by_actions_and_the_empty_slot(batch):
    model = method(config()).eval()
    z, actions = model.encode(batch["observed"]), model.action(batch["actions"])[:, :-1]
    swapped = torch.stack([z[:, 1], z[:, 0], z[:, 2]], 1)
    together = actions.flip(1)
    assert torch.allclose(model.aggregator(z, actions), model.aggregator(swapped, together), atol=1e-5)
    assert not torch.allclose(model.aggregator(z, actions), model.aggregator(swapped, actions), atol=1e-3)


def test_the_last_layer_computes_the_first_token_exactly():
    model = method(config("model.dropout=0.0"))
    layer, x = model.aggregator.layers[-1], torch.randn(5, 4, 24)
    assert torch.allclose(_first_token(layer, x), layer(x)[:, 0], atol=1e-6)


def test_action_statistics_come_from_true_actions_only(batch):
    model = method(config())
    model(batch)
    projected = model.action.linear(batch["actions"].flatten(0, 1))
    assert torch.allclose(model.action.norm.running_var, 0.9 + 0.1 * projected.var(0), atol=1e-5)


def test_teacher_decides_where_the_gradient_goes(batch):
    shared, shared_out = loss_of(config("objective.teacher=shared", "objective.weights.rate=0"), batch)
    stopped, stopped_out = loss_of(config("objective.teacher=stopgrad", "objective.weights.rate=0"), batch)
    averaged, averaged_out = loss_of(config("objective.teacher=ema", "objective.weights.rate=0"), batch)
    # same initialisation, same value; only the shared target sends gradient back
    values = [float(out.terms["predict"].detach()) for out in (shared_out, stopped_out, averaged_out)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)
    gradients = [model.encoder.body[0].weight.grad for model in (shared, stopped, averaged)]
    assert torch.allclose(gradients[1], gradients[2], atol=1e-7)
    assert float((gradients[0] - gradients[1]).abs().max()) > 1e-5
    assert all(p.grad is None for p in averaged.target_branch.average.parameters())
    target = shared.target(batch["target"][0])
    assert target.requires_grad and not stopped.target(batch["target"][0]).requires_grad


def test_running_statistics_describe_observed_views_only(batch):
    for teacher in ("stopgrad", "shared", "ema"):
        model = method(config(f"objective.teacher={teacher}"))
        model(batch)
        first = model.encoder.body[1]
        seen = model.encoder.body[0](torch.cat(batch["observed"]))
        assert torch.allclose(first.running_mean, 0.1 * seen.mean((0, 2, 3)), atol=1e-6)
        assert first.track


def test_ema_update_moves_parameters_by_the_stated_share_and_leaves_buffers(batch):
    run = config("objective.teacher=ema", "objective.ema={decay: 0.9, anneal: false}")
    model = method(run)
    model(batch)
    buffers = {name: b.clone() for name, b in model.target_branch.average.named_buffers()}
    before = [p.clone() for p in model.target_branch.average.parameters()]
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1.0)
    model.after_step({"ema_decay": 0.9})
    for old, new, online in zip(
        before, model.target_branch.average.parameters(), model.encoder.parameters(), strict=True
    ):
        assert torch.allclose(new, 0.9 * old + 0.1 * online, atol=1e-6)
    assert all(torch.equal(b, buffers[name]) for name, b in model.target_branch.average.named_buffers())


def test_ema_decay_values():
    tau = ema_decay(EmaConfig(half_life=0.1, anneal=False), 0, 500)
    assert tau**50 == pytest.approx(0.5)
    annealed = EmaConfig(decay=0.996)
    assert ema_decay(annealed, 0, 100) == pytest.approx(0.996)
    assert ema_decay(annealed, 50, 100) == pytest.approx(1 - 0.004 * 0.5)
    assert ema_decay(annealed, 100, 100) == pytest.approx(1.0)
    assert ema_decay(EmaConfig(decay=0.996, anneal=False), 50, 100) == 0.996


def test_rate_switches(batch):
    def term(*overrides):
        return float(loss_of(config(*overrides), batch)[1].terms["rate"].detach())

    agg, z, both = term("objective.rate.on=agg"), term("objective.rate.on=z"), term("objective.rate.on=both")
    assert agg != z and both == pytest.approx((agg + z) / 2, rel=1e-6)
    assert len({round(term(f"objective.rate.form={form}"), 4) for form in ("unit", "ln", "log")}) == 3
    assert term("objective.rate.eps2=0.5") > agg  # a coarser distortion counts less volume
    assert term("objective.rate.center=true") != agg
    assert term("objective.rate.form=ln", "objective.rate.alpha=3") < term("objective.rate.form=ln")
    model, output = loss_of(config("objective.rate.on=z"), batch)
    assert output.health.keys() >= {"rate_nats/z"}
    direct = CodingRate(config().objective.rate)(output.features["z"].flatten(0, 1))
    assert float(direct.value) == pytest.approx(z, rel=1e-5)


def test_the_rate_weight_scales_its_gradient(batch):
    gradients = []
    for weight in (0.0, 0.5, 1.0):
        model, _ = loss_of(config(f"objective.weights.rate={weight}"), batch)
        gradients.append(model.encoder.body[0].weight.grad)
    assert not torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert torch.allclose(gradients[2] - gradients[0], 2 * (gradients[1] - gradients[0]), atol=1e-5)
    half, whole = (
        loss_of(config(f"objective.weights.predict={w}"), batch)[0].predictor[0].weight.grad for w in (0.5, 1.0)
    )
    assert torch.allclose(2 * half, whole, atol=1e-6)


def test_model_switches(batch):
    base = {name: tuple(p.shape) for name, p in method(config()).named_parameters()}
    changes = {
        "model.encoder.width=6": "encoder.body.0.weight",
        "model.action_dim=12": "action.linear.weight",
        "model.ffn_ratio=2": "aggregator.layers.0.linear1.weight",
        "model.predictor_hidden=64": "predictor.0.weight",
    }
    for change, name in changes.items():
        assert {n: tuple(p.shape) for n, p in method(config(change)).named_parameters()}[name] != base[name]
    assert len(method(config("model.layers=3")).aggregator.layers) == 3
    linear = method(config("model.predictor_hidden=0"))
    assert isinstance(linear.predictor[1], GlobalBatchNorm) and len(linear.predictor) == 2
    heads = [method(config(f"model.heads={n}")).eval() for n in (2, 4)]
    outs = [m.aggregator(m.encode(batch["observed"]), m.action(batch["actions"])[:, :-1]) for m in heads]
    assert not torch.allclose(outs[0], outs[1], atol=1e-4)
    dropped = method(config("model.dropout=0.5"))
    assert not torch.equal(dropped(batch).terms["predict"], dropped(batch).terms["predict"])


def test_norms_biases_and_tokens_are_not_decayed():
    model = method(config("optim.weight_decay=0.1"))
    decayed, rest = model.parameter_groups()
    assert decayed.weight_decay == 0.1 and rest.weight_decay == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(p.ndim >= 2 for p in decayed.params)
    plain = {names[id(p)] for p in rest.params}
    assert "aggregator.token" in plain and all(
        "bias" in n or "norm" in n or "token" in n or ".1." in n or ".4." in n for n in plain
    )
    assert len(decayed.params) + len(rest.params) == len(list(model.parameters()))
    ema = method(config("objective.teacher=ema"))
    assert sum(len(g.params) for g in ema.parameter_groups()) == len(list(model.parameters()))


def test_global_batch_norm_equals_torchs_on_one_worker():
    ours, theirs = GlobalBatchNorm(5), torch.nn.BatchNorm2d(5)
    x = torch.randn(6, 5, 3, 3)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var) and torch.allclose(
        ours.running_mean, theirs.running_mean
    )
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)
    ours.train().track = False
    kept = ours.running_mean.clone()
    ours(x)
    assert torch.equal(ours.running_mean, kept)


def test_cosine_similarity_epsilon_keeps_a_dead_code_finite(batch):
    model = method(config())
    with torch.no_grad():
        model.predictor[-1].weight.zero_()
        model.predictor[-1].bias.zero_()
    assert math.isclose(float(model(batch).terms["predict"].detach()), 1.0)
    assert F.cosine_similarity(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0
