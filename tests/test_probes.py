"""Probes against independent implementations, and that they leave the run alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SkRidge
from sklearn.metrics import r2_score
from small import config, method, views

from trainer.families.seq_jepa.probing.features import Harvest
from trainer.families.seq_jepa.probing.health import Health
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_r2, r2
from trainer.probes.ridge import ALPHA, Ridge


def blobs(n=300, d=12, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = np.random.default_rng(99).normal(size=(classes, d))
    return torch.tensor(centres[labels] + rng.normal(size=(n, d)) * 1.2), torch.tensor(labels)


def test_ridge_equals_scikit_learns():
    x, y = blobs()
    test_x, test_y = blobs(seed=1)
    penalty = ALPHA * float(x.var(0, correction=0).mean()) * len(x)
    reference = SkRidge(alpha=penalty).fit(x.numpy(), np.eye(4)[y.numpy()])
    expected = 100 * (reference.predict(test_x.numpy()).argmax(1) == test_y.numpy()).mean()
    assert Ridge(x, y, 4).accuracy(test_x, test_y) == pytest.approx(expected, abs=1e-9)


def test_ridge_ignores_a_common_scale_and_shift_but_not_its_strength():
    x, y = blobs()
    squeezed = torch.cat([x[:, :6] * 1e-3, x[:, 6:]], 1)
    test_x, test_y = blobs(seed=1)
    assert Ridge(50 * x + 3, y, 4).accuracy(50 * test_x + 3, test_y) == Ridge(x, y, 4).accuracy(test_x, test_y)
    squeezed_test = torch.cat([test_x[:, :6] * 1e-3, test_x[:, 6:]], 1)
    weak, strong = (Ridge(squeezed, y, 4, alpha).accuracy(squeezed_test, test_y) for alpha in (1e-8, 1e-2))
    assert weak > strong  # directions of tiny variance are not amplified
    constant = torch.ones(300, 5)
    assert Ridge(constant, y, 4).accuracy(constant, y) == pytest.approx(100 * float(torch.bincount(y).max()) / 300)


def test_ranks_have_their_definitions():
    torch.manual_seed(0)
    z = torch.linalg.qr(torch.randn(200, 4, dtype=torch.float64) - 0)[0]
    z = z - z.mean(0)
    z = torch.linalg.qr(z)[0] * torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    z = z - z.mean(0)
    s = torch.linalg.svdvals(z)
    p = s / s.sum()
    expected = {
        "rank_pr": (s**2).sum() ** 2 / (s**4).sum(),
        "rank_sv": s.sum() ** 2 / (s**2).sum(),
        "rankme": torch.exp(-(p[p > 1e-12] * p[p > 1e-12].log()).sum()),
    }
    for name, value in effective_ranks(z).items():
        assert value == pytest.approx(float(expected[name]), rel=1e-5)
    assert effective_ranks(torch.ones(10, 3)) == {"rank_pr": 1.0, "rank_sv": 1.0, "rankme": 1.0}


def test_r2_is_scikit_learns_over_outputs_that_vary():
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    assert r2(torch.tensor(truth), torch.tensor(guess)) == pytest.approx(r2_score(truth, guess))
    with_constant = torch.tensor(np.c_[truth, np.zeros(50)])
    assert r2(with_constant, torch.tensor(np.c_[guess, np.ones(50)])) == pytest.approx(r2_score(truth, guess))
    assert np.isnan(r2(torch.zeros(5, 2), torch.ones(5, 2)))


def test_the_regressor_reads_a_non_linear_function_and_nothing_from_noise():
    torch.manual_seed(0)
    x, noise = torch.randn(1500, 4), torch.randn(1500, 4)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], 1)
    assert mlp_r2(x[:1000], y[:1000], x[1000:], y[1000:]) > 0.8
    assert mlp_r2(noise[:1000], y[:1000], noise[1000:], y[1000:]) < 0.1
    assert mlp_r2(x[:1000], y[:1000], x[1000:], y[1000:]) == mlp_r2(x[:1000], y[:1000], x[1000:], y[1000:])


def test_the_online_probe_learns():
    x, y = blobs()
    probe = OnlineProbe(12, 4, torch.device("cpu"), learning_rate=0.05)
    before = probe.accuracy(x, y)
    for _ in range(100):
        probe.observe({"z_agg": x}, y, torch.zeros(len(y), 1, 1))
    assert probe.accuracy(x, y) > before + 30


@pytest.mark.parametrize("teacher", ["stopgrad", "ema"])
def test_measuring_leaves_model_statistics_and_random_numbers_alone(digits, teacher):
    run = config(f"objective.teacher={teacher}", "data.action_scale=none", "model.dropout=0.2")
    source, model = views(run, digits), method(run)
    health, harvest = Health(run, digits, source), Harvest()
    output = model(source.next())
    harvest.add(output.features, digits.labels[:64])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = torch.get_rng_state()
    online = OnlineProbe(24, 10, torch.device("cpu"))
    metrics = (
        health.live(model, harvest, online)
        | health.probe(model)
        | health.pixels()
        | health.probe(health.untrained(model), full=False)
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert model.training and all(p.grad is None for p in model.parameters())
    wanted = {
        "linacc/z_agg@3", "linacc/z_1@1", "linacc/z_mean@3", "linacc/z_agg@1", "linacc/pixels@1",
        "linacc/pixels_mean@3",
        "r2_action.none/z_pair@2", "r2_pose/z_agg@3", "r2_pose/z_1@1", "predict/z_hat@3", "rank_pr/z@3",
        "rank_sv/z_agg@3",
        "rankme/z@3", "linacc_live/z_agg@3", "online_linacc_live/z_agg@3", "predict_live/z_hat@3",
    }  # fmt: skip
    assert wanted <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_the_untrained_baseline_is_judged_on_fitted_statistics(digits):
    run = config()
    source, model = views(run, digits), method(run)
    health = Health(run, digits, source)
    fitted, raw = health.probe(health.untrained(model), full=False), health.probe(model, full=False)
    assert fitted["linacc/z_agg@3"] > raw["linacc/z_agg@3"] + 10


def test_pixels_know_the_action(digits):
    run = config()
    metrics = Health(run, digits, views(run, digits)).pixels()
    assert metrics["r2_action.feature_std/pixels_pair@2"] > 0.5
    assert 30 < metrics["linacc/pixels@1"] < 60


@pytest.mark.parametrize("count, width", [(40, 90), (90, 40)])
def test_ridge_solves_the_same_problem_on_either_side(count, width):
    from sklearn.linear_model import Ridge as Reference

    x, y = torch.randn(count, width, dtype=torch.float64), torch.arange(count) % 3
    ours = Ridge(x, y, 3)
    penalty = ALPHA * float(x.var(0, correction=0).mean()) * count
    theirs = Reference(alpha=penalty).fit(x.numpy(), torch.nn.functional.one_hot(y).double().numpy())
    assert torch.allclose(ours._weight, torch.from_numpy(theirs.coef_.T), atol=1e-9)
