"""Every arm does what it says, against a formula of its own, and carries on bit for bit after a stop."""

import numpy as np
import pytest
import torch
from small import SMALL, config, method, views

from trainer import checkpoint
from trainer.config import SharpenConfig
from trainer.data.images import load_images
from trainer.errors import RecordError, UsageError
from trainer.families.seq_jepa.target import ema_decay, pooled
from trainer.loop import train
from trainer.losses.prediction import SharpenedLoss
from trainer.probes import regression
from trainer.record.identity import run_id
from trainer.record.run import comparable, read
from trainer.step import given, total_loss

TEACHERS = ("ema", "stopgrad", "shared")


@pytest.fixture
def batch(digits):
    return views(config(), digits).next()


def gradients(run, batch):
    """The model and its gradients by name after one backward pass of the configured loss."""
    model = method(run)
    total_loss(model(batch).terms, run.objective.weights.model_dump()).backward()
    return model, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


# --- symmetric prediction


def whitened(x):
    return (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5)


def both_directions_by_hand(model, batch, reversed_actions):
    """Mean of the two directions' cosine distances, from the modules alone."""
    sequence = [*batch["observed"], *batch["target"]]
    m, count = len(sequence) - 1, len(batch["actions"])
    codes = pooled(model.encoder, torch.cat(sequence)).view(m + 1, count, -1)
    network = model.target_branch.average or model.encoder
    told = torch.cat([batch["actions"], reversed_actions]).flatten(0, 1)
    embedded = whitened(told @ model.action.linear.weight.T).view(2, count, m, -1)
    losses = []
    for direction, order in enumerate([range(m + 1), range(m, -1, -1)]):
        *seen, last = order
        action = embedded[direction]
        aggregate = model.aggregator(torch.stack([codes[i] for i in seen], 1), action[:, :-1])
        guess = model.predictor(torch.cat([aggregate, action[:, -1]], 1))
        goal = pooled(network, sequence[last])
        goal = goal if model.objective.teacher == "shared" else goal.detach()
        losses.append((1 - (guess * goal).sum(1) / (guess.norm(dim=1) * goal.norm(dim=1))).mean())
    return (losses[0] + losses[1]) / 2


@pytest.mark.parametrize("teacher", TEACHERS)
def test_symmetric_is_the_mean_of_both_directions_in_value_and_gradient(digits, teacher):
    settings = ("precision=fp64", f"objective.teacher={teacher}", "objective.weights.rate=0", "data.action_scale=none")
    run = config(*settings, "objective.symmetric=true")
    batch = views(run, digits).next()
    # a rotation's inverse has the opposite sine and the same cosine
    inverse = batch["actions"].flip(1) * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert torch.allclose(batch["reversed_actions"], inverse, atol=1e-7)
    model, found = gradients(run, batch)
    by_hand = method(run)
    loss = both_directions_by_hand(by_hand, batch, inverse)
    loss.backward()
    assert float(method(run)(batch).terms["predict"].detach()) == pytest.approx(float(loss.detach()), rel=1e-6)
    for name, p in by_hand.named_parameters():
        if p.requires_grad:
            assert torch.allclose(found[name], p.grad, rtol=1e-4, atol=1e-7), name
    one_way = gradients(config(*settings), batch)[1]
    assert all(
        float((one_way[name] - found[name]).abs().max()) > 1e-6
        for name in ("encoder.body.0.weight", "predictor.0.weight")
    )
    assert float(method(config(*settings))(batch).terms["predict"].detach()) != pytest.approx(
        float(loss.detach()), rel=1e-6
    )


def test_the_features_of_a_symmetric_arm_are_those_of_the_forward_direction(digits):
    run = config("objective.symmetric=true", "model.action_norm=true_actions")
    batch = views(run, digits).next()
    output = method(run)(batch)
    assert output.features["z"].shape == (64, 3, 16) and output.features["z_agg"].shape == (64, 24)
    # codes are normalised with the target view's: not those of the one-way arm, but of the same views
    one_way = method(config())(batch).features["z"]
    both = torch.stack([output.features["z"].flatten(), one_way.flatten()])
    assert not torch.equal(both[0], both[1]) and float(torch.corrcoef(both)[0, 1]) > 0.97


def test_the_rate_of_a_symmetric_arm_sees_both_aggregates(digits):
    run = config("objective.symmetric=true")
    batch = views(run, digits).next()
    backward = {**batch, "observed": [*batch["target"], *batch["observed"][:0:-1]], "target": batch["observed"][:1]}
    backward |= {"actions": batch["reversed_actions"], "reversed_actions": batch["actions"]}
    rates = [float(method(run)(b).terms["rate"].detach()) for b in (batch, backward)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-5)
    assert rates[0] != pytest.approx(float(method(config())(batch).terms["rate"].detach()), rel=1e-6)


def test_planar_inverse_actions_undo_the_action(digits):
    run = config("precision=fp64", "objective.symmetric=true", "data.transform=affine", "data.action_scale=none")
    batch = views(run, digits).next()
    sin, cos, x, y, log_scale = batch["actions"].flip(1).unbind(-1)
    # the inverse of v -> s R v + t is v -> R' (v - t) / s
    shrink = torch.exp(-log_scale)
    inverse = torch.stack([-sin, cos, -shrink * (cos * x + sin * y), -shrink * (cos * y - sin * x), -log_scale], -1)
    assert torch.allclose(batch["reversed_actions"], inverse, atol=2e-6)


def test_only_symmetric_arms_carry_reversed_actions(digits):
    assert "reversed_actions" not in views(config(), digits).next()


# --- sharpened targets


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cosine(a, b):
    return np.mean(1 - (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


@pytest.mark.parametrize("form", ["dino", "center_cosine", "log_cosine"])
def test_sharpened_losses_follow_their_formulas_and_centre(form):
    rng = np.random.default_rng(0)
    loss, centre = SharpenedLoss(SharpenConfig(form=form, center_momentum=0.8), 6).double(), np.zeros(6)
    for _ in range(3):
        guess, goal = rng.normal(size=(10, 6)), rng.random((10, 6))
        moved = 0.8 * centre + 0.2 * goal.mean(0)
        # only the log's form uses the centre that already contains this batch
        used = moved if form == "log_cosine" else centre
        if form == "dino":
            wanted = softmax((goal - used) / 0.04)
            logits = guess / 0.1
            log_soft = (
                logits
                - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
                - logits.max(1, keepdims=True)
            )
            expected = -(wanted * log_soft).sum(1).mean()
            slope = (softmax(logits) - wanted) / 0.1 / 10
        else:
            expected = cosine(guess, goal - used if form == "center_cosine" else softmax((goal - used) / 0.04))
            slope = None
        rows = torch.tensor(guess, requires_grad=True)
        value = loss(rows, torch.tensor(goal))
        value.backward()
        assert float(value.detach()) == pytest.approx(expected, rel=1e-9)
        if slope is not None:
            assert np.allclose(rows.grad.numpy(), slope, atol=1e-12)
        centre = moved
        assert np.allclose(loss.center.numpy(), centre, atol=1e-12)
    loss.eval()
    loss(torch.tensor(guess), torch.tensor(goal))
    assert np.allclose(loss.center.numpy(), centre, atol=1e-12)


def test_temperatures_and_momentum_of_sharpening_act():
    guess, goal = torch.randn(8, 5, dtype=torch.float64), torch.rand(8, 5, dtype=torch.float64)

    def second(**settings):
        loss = SharpenedLoss(SharpenConfig(**settings), 5).double()
        loss(guess, goal)
        return float(loss(guess, goal.flip(0)))

    dino = second(form="dino")
    for change in ({"target_temperature": 0.07}, {"prediction_temperature": 0.2}, {"center_momentum": 0.5}):
        assert second(form="dino", **change) != pytest.approx(dino, rel=1e-6), change
    assert second(form="log_cosine", target_temperature=0.2) != pytest.approx(second(form="log_cosine"), rel=1e-6)


@pytest.mark.parametrize("form", ["dino", "center_cosine", "log_cosine"])
def test_sharpening_acts_in_the_model_and_its_centre_is_saved(batch, form):
    run = config(f"objective.sharpen={{form: {form}}}", "objective.weights.rate=0")
    plain_model, plain = gradients(config("objective.weights.rate=0"), batch)
    model, found = gradients(run, batch)
    # the first centre is zero
    assert torch.allclose(found["encoder.body.0.weight"], plain["encoder.body.0.weight"], atol=1e-6) == (
        form == "center_cosine"
    )
    values = [float(one.eval()(batch).terms["predict"].detach()) for one in (model, plain_model)]
    assert values[0] != pytest.approx(values[1], rel=1e-4)
    target = plain_model.train().target(batch["target"][0]).detach()
    assert torch.allclose(model.state_dict()["sharpened.center"], 0.1 * target.mean(0), atol=1e-6)
    model(batch)
    assert torch.allclose(model.sharpened.center, 0.1 * target.mean(0), atol=1e-6)


def test_the_centre_moves_once_per_step_of_a_symmetric_arm(digits):
    run = config("objective.sharpen={form: dino}", "objective.symmetric=true")
    batch = views(run, digits).next()
    model = method(run)
    goals = torch.cat([model.target(batch["target"][0]), model.target(batch["observed"][0])]).detach()
    model(batch)
    assert torch.allclose(model.sharpened.center, 0.1 * goals.mean(0), atol=1e-6)


# --- teacher: decay and batch-norm


@pytest.mark.parametrize("settings, expected", [
    ("{decay: 0.9}", [1 - 0.1 * (np.cos(np.pi * step / 40) + 1) / 2 for step in (0, 9, 13, 27)]),
    ("{decay: 0.9, anneal: false}", [0.9] * 4),
    ("{decay: 0.9, per_epoch: true}", [1 - 0.1 * (np.cos(np.pi * step / 40) + 1) / 2 for step in (0, 8, 12, 24)]),
    ("{half_life: 0.25, anneal: false}", [0.5**0.1] * 4),
])  # fmt: skip
def test_ema_settings_decide_how_far_the_teacher_moves(settings, expected):
    run = config(
        "data.sizes=[256,64,64]",
        "schedule.horizon_epochs=10",
        "objective.teacher=ema",
        f"objective.ema={settings}",
        epochs=10,
    )
    assert run.horizon_steps == 40 and run.steps_per_epoch == 4
    model = method(run)
    for step, tau in zip((0, 9, 13, 27), expected, strict=True):
        assert ema_decay(run.objective.ema, step, 40, 4) == pytest.approx(tau, rel=1e-12)
        with torch.no_grad():
            for p in model.target_branch.average.parameters():
                p.zero_()
            for p in model.encoder.parameters():
                p.fill_(1.0)
        scalars = model.schedule(step)
        assert scalars == {"ema_decay": pytest.approx(tau, rel=1e-12)}
        model.after_step(scalars)
        moved = torch.cat([p.flatten() for p in model.target_branch.average.parameters()])
        assert torch.allclose(moved, torch.full_like(moved, 1 - tau), atol=1e-6)


@pytest.mark.parametrize("teacher", TEACHERS)
def test_stored_target_statistics_make_a_target_independent_of_its_batch(batch, teacher):
    outputs = {}
    for policy in ("batch", "ema_buffers_eval"):
        model = method(config(f"objective.teacher={teacher}", f"objective.target_bn={policy}"))
        # statistics unlike the batch's
        for _ in range(5):
            model.encode(batch["observed"])
            model.after_step(given(model.schedule(0)))
        model.train()
        outputs[policy] = model.target(batch["target"][0])[:8].detach(), model.target(batch["target"][0][:8]).detach()
        assert model.encoder.training and all(norm.training for norm in model.encoder.modules())
    assert torch.allclose(*outputs["ema_buffers_eval"], atol=1e-5)
    assert not torch.allclose(*outputs["batch"], atol=1e-3)
    assert not torch.allclose(outputs["batch"][0], outputs["ema_buffers_eval"][0], atol=1e-3)


def test_the_teachers_buffers_follow_the_encoders_only_where_they_are_used(batch):
    for policy in ("batch", "ema_buffers_eval"):
        model = method(
            config(
                "objective.teacher=ema", "objective.ema={decay: 0.9, anneal: false}", f"objective.target_bn={policy}"
            )
        )
        model.encode(batch["observed"])
        name = "body.1.running_mean"
        before, online = (
            dict(net.named_buffers())[name].clone() for net in (model.target_branch.average, model.encoder)
        )
        model.after_step(given(model.schedule(0)))
        after = dict(model.target_branch.average.named_buffers())[name].clone()
        expected = 0.9 * before + 0.1 * online if policy == "ema_buffers_eval" else before
        assert torch.allclose(after, expected, atol=1e-7)
        model.target(batch["target"][0])
        own = dict(model.target_branch.average.named_buffers())[name]
        assert torch.equal(own, after) == (policy == "ema_buffers_eval")


def test_measuring_uses_the_stored_target_statistics_too(batch):
    from trainer.families.seq_jepa.probing.features import batch_statistics

    model = method(config("objective.teacher=ema", "objective.target_bn=ema_buffers_eval"))
    wanted = model.target(batch["target"][0]).detach()
    with batch_statistics(model), torch.no_grad():
        assert torch.equal(model.target(batch["target"][0]), wanted)


@pytest.mark.parametrize("teacher", ["stopgrad", "shared"])
def test_double_bn_lets_the_target_view_count_last_in_the_running_statistics(digits, teacher):
    run = config(f"objective.teacher={teacher}", "objective.double_bn=true")
    batch = views(run, digits).next()
    model = method(run)
    first, norm = model.encoder.body[0], model.encoder.body[1]
    seen, goal = (first(x).mean((0, 2, 3)).detach() for x in (torch.cat(batch["observed"]), batch["target"][0]))
    model(batch)
    assert torch.allclose(norm.running_mean, 0.9 * (0.1 * seen) + 0.1 * goal, atol=1e-6)
    for _ in range(120):
        model(batch)
    # 0.1 / 0.19 = 53 % of the statistics describe the target view
    assert torch.allclose(norm.running_mean, (0.09 * seen + 0.1 * goal) / 0.19, atol=1e-5)
    # the output of a training step does not depend on running statistics
    plain = method(config(f"objective.teacher={teacher}"))(batch).terms["predict"]
    assert torch.equal(plain, method(run)(batch).terms["predict"])


@pytest.mark.parametrize("settings", [
    ["objective.teacher=ema", "objective.double_bn=true"],
    ["objective.teacher=shared", "objective.double_bn=true", "objective.target_bn=ema_buffers_eval"],
    ["objective.teacher=ema", "objective.ema={anneal: false, per_epoch: true}"],
    ["objective.sigreg={slices: 4}"],
    ["objective.sharpen={form: center_cosine, target_temperature: 0.1}"],
    ["eval.pair_target=target_branch"],
    ["eval.action_probe=true", "data.observed_views=1"],
    ["model.encoder.stem=imagenet"],
    ["model.encoder={name: vit, width: 16}", "objective.target_bn=ema_buffers_eval"],
    ["model.encoder={name: crate, width: 16}", "objective.double_bn=true"],
    ["model.condition=none", "model.action_norm=upstream"],
])  # fmt: skip
def test_a_switch_that_would_do_nothing_is_refused(settings):
    with pytest.raises(UsageError, match="remove it|only with|needs"):
        config(*settings)


@pytest.mark.parametrize(
    "settings, said",
    [
        (["model.encoder={name: vit, width: 16, vit: {depth: 1, drop_path: 0.1}}"], "drop_path = 0.1: .*depth of 2"),
    ],
)
def test_a_setting_too_small_to_act_is_refused(settings, said):
    with pytest.raises(UsageError, match=said) as caught:
        config(*settings)
    assert "\n" not in str(caught.value)


def test_a_warm_up_of_less_than_a_step_is_none_as_searches_draw_it():
    assert config("schedule.warmup_epochs=0.02").schedule.warmup_epochs == 0.02


# --- controls of the rate in the model


@pytest.mark.parametrize("name", ["sigreg", "vicreg"])
def test_the_controls_weights_act_in_proportion(digits, name):
    start = "objective.weights.rate=0"
    batch = views(config(), digits).next()
    found = [
        gradients(config(start, f"objective.weights.{name}={w}"), batch)[1]["encoder.body.0.weight"]
        for w in (0.0, 0.01, 0.02)
    ]
    assert not torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[2] - found[0], 2 * (found[1] - found[0]), atol=1e-5)
    assert name not in method(config(start))(batch).terms


@pytest.mark.parametrize("name", ["sigreg", "vicreg"])
def test_the_controls_features_are_those_named(digits, name):
    batch = views(config(), digits).next()
    values = {}
    for on in ("agg", "z", "both"):
        model = method(config(f"objective.weights.{name}=0.1", f"objective.{name}={{on: {on}}}"))
        values[on] = float(model(batch).terms[name].detach())
    assert values["agg"] != values["z"] and values["both"] == pytest.approx((values["agg"] + values["z"]) / 2, rel=1e-5)


def test_settings_of_the_controls_act(digits):
    batch = views(config(), digits).next()

    def value(name, settings):
        return float(
            method(config(f"objective.weights.{name}=0.1", f"objective.{name}={settings}"))(batch).terms[name].detach()
        )

    base = value("sigreg", "{}")
    assert base != value("sigreg", "{slices: 8}") and base != value("sigreg", "{knots: 9}")
    both, hinge, off = (value("vicreg", s) for s in ("{}", "{covariance: 0}", "{variance: 0}"))
    assert both == pytest.approx(hinge + off, rel=1e-5) and min(hinge, off) > 0


# --- action conditioning


CONDITIONS = ("both", "aggregator", "predictor", "none")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition_decides_who_is_told_the_actions(batch, condition):
    run = config(f"model.condition={condition}", "model.action_norm=true_actions")
    model = method(run).eval()
    in_aggregator, in_predictor = condition in ("both", "aggregator"), condition in ("both", "predictor")
    width = 16 + (8 if in_aggregator else 0)
    assert run.model.token_width == model.aggregator.norm.normalized_shape[0] == width
    assert model.predictor[0].in_features == width + (8 if in_predictor else 0)
    changed = {**batch, "actions": batch["actions"].clone()}
    changed["actions"][:, 0] *= -1
    last = {**batch, "actions": batch["actions"].clone()}
    last["actions"][:, -1] *= -1
    with torch.no_grad():
        base, early, late = (model(b) for b in (batch, changed, last))
    assert torch.equal(base.features["z_agg"], early.features["z_agg"]) != in_aggregator
    assert torch.equal(base.features["z_agg"], late.features["z_agg"])
    assert torch.equal(base.terms["predict"], late.terms["predict"]) != in_predictor


@pytest.mark.parametrize("condition", CONDITIONS)
def test_without_actions_the_aggregate_does_not_know_the_order_of_views(batch, condition):
    model = method(config(f"model.condition={condition}")).eval()
    z, actions = model.encode(batch["observed"]), model.action(batch["actions"])[:, :-1]
    same = torch.allclose(model.aggregator(z, actions), model.aggregator(z[:, [2, 0, 1]], actions), atol=1e-5)
    assert same == (condition in ("predictor", "none"))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("observed", [1, 3])
def test_every_trained_parameter_has_a_gradient(digits, condition, observed):
    """Several workers average gradients and wait for each one."""
    if observed == 1 and condition == "aggregator":
        with pytest.raises(UsageError, match="no action lies between observed views"):
            config(f"model.condition={condition}", "data.observed_views=1")
        return
    run = config(f"model.condition={condition}", f"data.observed_views={observed}")
    _, found = gradients(run, views(run, digits).next())
    # a lone view has no softmax to choose by, but its gradient exists
    assert not [name for name, grad in found.items() if grad is None]


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_upstreams_action_statistics_are_diluted_by_the_empty_slot(m):
    torch.manual_seed(0)
    model = config("model.action_norm=upstream").model
    from trainer.families.seq_jepa.action_embedding import ActionEmbedding

    embed = ActionEmbedding(4, model.action_dim, "upstream", empty_is_zero=True)
    actions = torch.randn(4096, m, 4)
    true = embed.linear(actions).flatten(0, 1).var(0)
    for _ in range(120):
        out = embed(actions)
    # two updates a step: the predictor's true variance, then the aggregator's with one zero in m
    expected = (0.09 + 0.1 * (m - 1) / m) / 0.19
    assert torch.allclose(embed.norm.running_var / true, torch.full_like(true, expected), atol=0.02)
    assert expected == pytest.approx({1: 0.474, 2: 0.745, 3: 0.840, 5: 0.883}[m], abs=0.02)
    if m == 3:
        # the same action has a standard deviation of 1 in the predictor and of 1.22 in the aggregator, 1.10 in
        # evaluation
        out = out.detach()
        assert float(out[:, -1].std(0).mean()) == pytest.approx(1, abs=0.01)
        assert float(out[:, :-1].std((0, 1)).mean()) == pytest.approx(1.5**0.5, abs=0.02)
        assert float(embed.eval()(actions).detach().std((0, 1)).mean()) == pytest.approx(1.10, abs=0.02)
        correct = ActionEmbedding(4, model.action_dim, "true_actions", empty_is_zero=True)
        assert float(correct(actions).detach().std((0, 1)).mean()) == pytest.approx(1, abs=0.01)


def test_upstreams_empty_slot_holds_the_last_action_where_relative_actions_are_given(batch):
    model = method(config("model.action_norm=upstream"))
    assert not model.action.empty_is_zero  # rotations are given relatively
    rows = model.action.linear(batch["actions"].flatten(0, 1))
    assert torch.allclose(model.action(batch["actions"])[:, :-1], whitened(rows).view(64, 3, -1)[:, :-1], atol=1e-4)
    last = model.action.linear(batch["actions"][:, -1])
    assert torch.allclose(model.action(batch["actions"])[:, -1], whitened(last), atol=1e-4)


# --- encoder


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_resnet18_computes_what_torchvisions_does(stem):
    import torchvision

    from trainer.blocks.faces import make_encoder
    from trainer.config import EncoderConfig

    torch.manual_seed(0)
    net = make_encoder(EncoderConfig(name="resnet18", width=64, stem=stem), 3)
    reference = torchvision.models.resnet18(zero_init_residual=True)
    if stem == "cifar":
        reference.conv1, reference.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    reference.fc = torch.nn.Identity()
    assert all(not block.norm2.weight.any() for block in net.modules() if hasattr(block, "norm2"))
    with torch.no_grad():
        for block in net.modules():
            if hasattr(block, "norm2"):
                block.norm2.weight.fill_(0.3)
    # both list their parameters from input to output, except that torchvision's blocks name the shortcut last, as ours
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert ours.shape == theirs.shape
        theirs.data.copy_(ours.data)
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(pooled(net, images), reference(images), atol=1e-4)


# --- optimiser and schedule


def test_upstreams_learning_rates():
    """Warm-up by epochs from 1e-5 to 4e-4, then 4e-4 for ever, as the paper's code really trains."""
    from trainer.schedule import learning_rate

    run = config(
        "optim.lr=4e-4", "schedule.name=constant", "schedule.warmup_epochs=20", "schedule.start_lr_ratio=0.025",
        "schedule.per_epoch=true", "schedule.horizon_epochs=2000",
    )  # fmt: skip
    expected = {0: 1e-5, 10: 2.05e-4, 19: 3.805e-4, 20: 4e-4, 500: 4e-4, 999: 4e-4}
    for epoch, rate in expected.items():
        for step in (0, run.steps_per_epoch - 1):
            assert learning_rate(run, epoch * run.steps_per_epoch + step) == pytest.approx(rate, rel=1e-9)


def test_the_logs_learning_rates():
    """Warm-up lr (e+1)/w, cosine with its floor at the last epoch, constant within an epoch."""
    from trainer.schedule import learning_rate

    run = config(
        "optim.lr=1e-3", "schedule.warmup_epochs=2", "schedule.per_epoch=true", "schedule.horizon_epochs=10",
        "schedule.final_lr_ratio=0.1", epochs=10,
    )  # fmt: skip
    rates = [learning_rate(run, epoch * run.steps_per_epoch + 7) for epoch in range(10)]
    cosine = [1e-4 + 9e-4 * (np.cos(np.pi * (e - 2) / 7) + 1) / 2 for e in range(2, 10)]
    assert rates == pytest.approx([5e-4, 1e-3, *cosine], rel=1e-9)
    smooth = run.model_copy(update={"schedule": run.schedule.model_copy(update={"per_epoch": False})})
    assert learning_rate(smooth, 0) < learning_rate(smooth, 7)


def test_a_matrix_of_one_column_is_a_matrix():
    """The embedding of a one-component action is decayed like any other; the aggregator's token is not."""
    model = method(config(), actions=1)
    decayed, rest = model.parameter_groups()
    assert any(p is model.action.linear.weight for p in decayed.params)
    assert any(p is model.aggregator.token for p in rest.params)
    everything, nothing = method(config("optim.decay_on=all"), actions=1).parameter_groups()
    assert len(everything.params) == len(decayed.params) + len(rest.params) and not nothing.params


# --- whole runs: tiny splits, four steps an epoch

TINY = (
    *SMALL,
    "data.sizes=[256,64,64]",
    "schedule.horizon_epochs=3",
    "schedule.warmup_epochs=1",
    "eval.probe_epochs=[9]",
)


@pytest.fixture(scope="module")
def images():
    return load_images(config(*TINY, epochs=1))


def trained(folder, images, *overrides, epochs=1):
    """Final weights and the metrics of the last epoch's ``epoch`` and ``eval`` lines."""
    run = config(*TINY, *overrides, epochs=epochs)
    train(run, folder, images=images)
    name = run_id(run)
    lines = {
        line["event"]: line["metrics"] for line in read(folder / name / "records.jsonl") if line["epoch"] == epochs
    }
    return checkpoint.load(folder / name, torch.device("cpu"), name.split("-")[0])["method"], lines


@pytest.fixture(scope="module")
def plain(tmp_path_factory, images):
    return trained(tmp_path_factory.mktemp("plain"), images)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_adam_differs_from_adamw_by_its_decay_only(tmp_path, images):
    runs = {
        (name, decay): trained(
            tmp_path / f"{name}{decay}", images, f"optim.name={name}", f"optim.weight_decay={decay}"
        )[0]
        for name in ("adamw", "adam")
        for decay in (0, 0.5)
    }
    assert same(runs["adamw", 0], runs["adam", 0])
    assert not same(runs["adamw", 0.5], runs["adam", 0.5]) and not same(runs["adam", 0], runs["adam", 0.5])


def test_decay_on_all_shrinks_norms_too(tmp_path, images):
    some, everything = (
        trained(tmp_path / on, images, "optim.weight_decay=5", f"optim.decay_on={on}")[0] for on in ("matrices", "all")
    )
    name = "aggregator.norm.weight"
    assert float(everything[name].mean()) < float(some[name].mean()) - 0.01


@pytest.mark.parametrize("change", ["schedule.per_epoch=true", "schedule.start_lr_ratio=0.9"])
def test_schedule_switches_reach_the_optimiser(tmp_path, images, plain, change):
    assert not same(trained(tmp_path, images, change)[0], plain[0])


def test_the_recorded_loss_is_the_mean_over_steps_without_probes(tmp_path, images, monkeypatch):
    seen = []

    def listening(terms, weights):
        seen.append(
            {name: float(term.detach()) for name, term in terms.items()}
            | {"total": float(total_loss(terms, weights).detach())}
        )
        return total_loss(terms, weights)

    monkeypatch.setattr("trainer.step.total_loss", listening)
    _, lines = trained(tmp_path, images, "eval.action_probe=true")
    assert len(seen) == 4
    for name, metric in (("total", "loss/total"), ("predict", "term/predict"), ("rate", "term/rate")):
        assert lines["epoch"][metric] == pytest.approx(np.mean([step[name] for step in seen]), rel=1e-6)


@pytest.mark.parametrize("change", ["eval.action_probe=true", "eval.probe_bn=train"])
def test_switches_of_evaluation_never_change_training(tmp_path, images, plain, change):
    weights, lines = trained(tmp_path, images, change)
    assert same(weights, plain[0]) and lines["epoch"] == plain[1]["epoch"]
    name = "online_r2_action_live.feature_std/z_pair@2"
    assert (name in lines["eval"]) == (change == "eval.action_probe=true") and name not in plain[1]["eval"]
    frozen = {key: value for key, value in lines["eval"].items() if "live" not in key}
    unchanged = {key: value for key, value in plain[1]["eval"].items() if "live" not in key}
    assert (frozen == unchanged) == (change == "eval.action_probe=true") and frozen.keys() == unchanged.keys()


@pytest.mark.parametrize("began", [False, True])
def test_a_probe_beside_the_model_neither_joins_nor_leaves_a_run(tmp_path, images, began):
    run = config(*TINY, f"eval.action_probe={str(began).lower()}", epochs=1)
    train(run, tmp_path, images=images)
    other = config(*TINY, f"eval.action_probe={str(not began).lower()}", epochs=2)
    with pytest.raises(RecordError, match=f"eval.action_probe = {not began}, but the run began with {began}"):
        train(other, tmp_path, images=images)


def test_the_second_view_of_a_lone_observed_view_is_the_encoders_unless_asked(tmp_path, images):
    settings = "data.observed_views=1", "objective.teacher=ema", "objective.ema={decay: 0.99}"
    (ours, own), (theirs, upstream) = (
        trained(tmp_path / on, images, *settings, f"eval.pair_target={on}") for on in ("encoder", "target_branch")
    )
    assert same(ours, theirs)
    changed = {key for key in own["eval"] if own["eval"][key] != upstream["eval"][key]}
    assert changed == {"r2_action.feature_std/z_pair@2"}


def test_padded_actions_train_alike_and_lower_the_logs_r2(tmp_path, images):
    _, lines = trained(tmp_path, images, "data.pad_action=3")
    metrics = lines["eval"]
    # three constants of five components count as 0: at most 0.4
    expected = 0.4 * metrics["r2_action.feature_std/z_pair@2"]
    assert metrics["r2_action_with_constants.feature_std/z_pair@2"] == pytest.approx(expected)


def test_a_sharpened_loss_is_recorded_on_held_out_views_without_moving_its_centre(tmp_path, images):
    weights, lines = trained(tmp_path, images, "objective.sharpen={form: dino}")
    assert lines["eval"]["predict/z_hat@3"] > 0.1 and float(weights["sharpened.center"].abs().max()) > 0


ARMS = {
    "symmetric": ["objective.symmetric=true"],
    "dino": ["objective.sharpen={form: dino}"],
    "center_cosine": ["objective.sharpen={form: center_cosine}"],
    "sigreg": ["objective.weights.rate=0", "objective.weights.sigreg=0.02", "objective.sigreg={slices: 16}"],
    "vicreg": ["objective.weights.rate=0", "objective.weights.vicreg=0.1"],
    "rate_both": ["objective.rate.on=both"],
    "dropout": ["model.dropout=0.1"],
    "stored_target_bn": ["objective.target_bn=ema_buffers_eval"],
    "double_bn": ["objective.double_bn=true"],
    "action_probe": ["eval.action_probe=true"],
}


FEWER = [*TINY, "data.sizes=[96,32,32]", "optim.batch_size=32"]


@pytest.fixture(scope="module")
def fewer_images():
    return load_images(config(*FEWER, epochs=1))


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("arm", ARMS)
def test_a_stopped_arm_carries_on_bit_for_bit(tmp_path, fewer_images, arm, teacher, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 4)  # how well a probe is fitted is not the question
    if arm == "double_bn" and teacher == "ema":
        return  # refused, see above
    settings = [*FEWER, f"objective.teacher={teacher}", *ARMS[arm]]
    long, short = (
        config(*settings, "eval.probe_epochs=[1]", epochs=2),
        config(*settings, "eval.probe_epochs=[1]", epochs=1),
    )
    results = {}
    for name, runs in (("straight", [long]), ("resumed", [short, long])):
        for run in runs:
            train(run, tmp_path / name, images=fewer_images)
        folder = tmp_path / name / run_id(long)
        lines = [comparable(line) for line in read(folder / "records.jsonl") if line["event"] in ("epoch", "eval")]
        state = checkpoint.load(folder, torch.device("cpu"), run_id(long).split("-")[0])
        results[name] = lines, state
    lines, state = zip(results["straight"], results["resumed"], strict=True)
    for line in (lines[0][0], lines[1][0]):
        line.pop("config")  # says how far the first call was to go
    assert len(lines[0]) == 5 and lines[0] == lines[1]
    assert same(state[0]["method"], state[1]["method"])
    assert same(*(s["online"]["modules"] for s in state))
