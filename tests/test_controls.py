"""SIGReg and VICReg, the controls of the coding rate, against formulas of their own in double precision."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from oracles import Case
from process_group import join, together
from scipy import integrate, stats

from trainer.config import SigRegConfig, VicRegConfig
from trainer.losses.sigreg import SigReg
from trainer.losses.vicreg import VicReg

STEP = torch.tensor(3)


def sigreg(seed=0, **settings):
    return SigReg(SigRegConfig(**settings), seed)


def value(loss, rows, step=STEP):
    return float(loss(torch.as_tensor(rows), step).value.detach())


def distance(projection, t):
    """Squared distance of characteristic functions times the window, at frequencies t (k,) for samples (n,)."""
    empirical = np.exp(1j * np.multiply.outer(np.atleast_1d(t), projection)).mean(1)
    gauss = np.exp(-(np.atleast_1d(t) ** 2) / 2)
    return np.abs(empirical - gauss) ** 2 * gauss


def epps_pulley(rows, directions):
    """The statistic on [-3, 3] by adaptive quadrature, n times the mean over directions."""
    parts = [integrate.quad(lambda t: distance(rows @ d, t)[0], -3, 3, epsabs=1e-10)[0] for d in directions.T]
    return len(rows) * np.mean(parts)


def samples(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# --- SIGReg


@pytest.mark.parametrize("rows", [
    pytest.param(samples(60, 5), id="gaussian"),
    pytest.param(3 * samples(60, 5), id="scaled"),
    pytest.param(samples(60, 5) + 1, id="shifted"),
    pytest.param(np.random.default_rng(1).uniform(-2, 2, (40, 5)), id="uniform"),
])  # fmt: skip
def test_sigreg_is_the_epps_pulley_integral(rows):
    loss = sigreg(slices=12, knots=401)
    directions = loss.directions(5, STEP).double().numpy()
    assert value(loss, rows) == pytest.approx(epps_pulley(rows, directions), rel=2e-5, abs=1e-5)


@pytest.mark.parametrize("rows", [samples(60, 5), 3 * samples(60, 5)], ids=["gaussian", "scaled"])
def test_the_default_knots_are_a_trapezoid_close_to_the_integral(rows):
    loss = sigreg(slices=12)
    directions = loss.directions(5, STEP).double().numpy()
    t = np.linspace(0, 3, 17)
    coarse = len(rows) * np.mean([2 * np.trapezoid(distance(rows @ d, t), t) for d in directions.T])
    assert value(loss, rows) == pytest.approx(coarse, rel=1e-5)
    assert coarse == pytest.approx(epps_pulley(rows, directions), rel=0.01)
    assert value(sigreg(slices=12, knots=5), rows) != pytest.approx(value(loss, rows), rel=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["f64_buffers", "f64_views_N_D", "f64_collapsed", "f64_t5_21_points", "ref_buffers",
                                  "pure_float32"])  # fmt: skip
def test_sigreg_is_the_references(name, monkeypatch):
    """Along the directions that the reference drew; frequencies and weights are kept in single precision here."""
    case = Case("sigreg", name)
    monkeypatch.setattr(SigReg, "LIMIT", float(case.settings["t_max"]))
    loss = sigreg(slices=case.settings["slices"], knots=case.settings["n_points"])
    monkeypatch.setattr(loss, "directions", lambda *_: case.inputs["directions"])
    x = case.inputs["x"].clone().requires_grad_()
    found = torch.stack([loss(rows, STEP).value for rows in x.view(-1, *x.shape[-2:])]).mean()
    found.backward()
    tolerance = 1e-4 if x.dtype == torch.float32 else 1e-6
    case.equals(found, case.outputs["loss"], tolerance=tolerance)
    case.equals(x.grad, case.gradients["x"], "gradients", tolerance)


def test_gaussian_samples_have_their_expected_value_and_collapsed_or_scaled_ones_far_more():
    # E |ecf - cf|^2 = (1 - cf^2) / n, so n times the integral has an expectation of its own, whatever n is
    expected = integrate.quad(lambda t: (1 - np.exp(-(t**2))) * np.exp(-(t**2) / 2), -3, 3)[0]
    means = {}
    for n in (64, 512):
        values = [value(sigreg(slices=64), samples(n, 16, seed), torch.tensor(seed)) for seed in range(400)]
        means[n] = np.mean(values)
        assert means[n] == pytest.approx(expected, rel=0.03)
    n = 512
    collapsed = np.zeros((n, 16))
    line = samples(n, 1) * samples(1, 16, 1)
    for name, rows in {
        "collapsed": collapsed,
        "line": line,
        "small": 0.3 * samples(n, 16),
        "large": 3 * samples(n, 16),
    }.items():
        assert value(sigreg(slices=64), rows) > 15 * expected, name
    # a collapsed batch has characteristic function 1
    everything = integrate.quad(lambda t: (1 - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), -3, 3)[0]
    assert value(sigreg(slices=64), collapsed) == pytest.approx(n * everything, rel=0.01)


def test_sigregs_gradient_is_that_of_its_value_and_repairs_scale():
    loss, rows = sigreg(slices=8), torch.tensor(2 * samples(20, 4), requires_grad=True)
    loss(rows, STEP).value.backward()
    for i, j in [(0, 0), (7, 3), (19, 1)]:
        step, plus, minus = 1e-5, rows.detach().clone(), rows.detach().clone()
        plus[i, j] += step
        minus[i, j] -= step
        numeric = (value(loss, plus) - value(loss, minus)) / (2 * step)
        assert float(rows.grad[i, j]) == pytest.approx(numeric, rel=1e-5, abs=1e-8)
    # moving against the gradient shrinks what is too wide
    assert float((rows.grad * rows.detach()).sum()) > 0


def test_directions_are_unit_uniform_and_drawn_anew_each_step():
    loss = sigreg(slices=4000)
    directions = loss.directions(6, STEP)
    assert directions.shape == (6, 4000)
    assert torch.allclose(directions.norm(dim=0), torch.ones(4000), atol=1e-5)
    rows = directions.T.double()
    assert float(rows.mean(0).abs().max()) < 0.03
    assert torch.allclose(rows.T @ rows / 4000, torch.eye(6, dtype=torch.float64) / 6, atol=0.015)
    # a coordinate of a uniform direction: (1 + x) / 2 is Beta((d - 1) / 2, (d - 1) / 2)
    for column in ((1 + rows) / 2).T.numpy():
        assert stats.kstest(column, stats.beta(2.5, 2.5).cdf).pvalue > 1e-3
    assert torch.equal(directions, loss.directions(6, STEP)) and torch.equal(
        directions, sigreg(slices=4000).directions(6, STEP)
    )
    assert float((directions * loss.directions(6, torch.tensor(4))).sum(0).abs().mean()) < 0.5
    assert float((directions * sigreg(seed=1, slices=4000).directions(6, STEP)).sum(0).abs().mean()) < 0.5
    assert sigreg(slices=7).directions(6, STEP).shape == (6, 7)


def test_half_precision_features_are_computed_in_single_precision():
    rows = torch.randn(32, 6)
    for loss, more in ((sigreg(slices=8), (STEP,)), (VicReg(VicRegConfig()), ())):
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(rows, *more).value
        assert inside.dtype == torch.float32 and float(inside) == float(loss(rows, *more).value)


# --- VICReg


def by_hand(rows, variance, covariance):
    n, d = rows.shape
    c = np.cov(rows.T)
    hinge = np.maximum(0, 1 - np.sqrt(rows.var(0, ddof=1) + 1e-4)).mean()
    return variance * hinge + covariance * sum(c[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d


@pytest.mark.parametrize("settings", [{}, {"variance": 0.5}, {"covariance": 2.0}, {"variance": 0.0}])
def test_vicreg_is_its_formula_in_value_and_gradient(settings):
    config = VicRegConfig(**settings)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)) * np.array([0.2, 0.5, 1, 1, 0.1]) + 2
    loss, given = VicReg(config), torch.tensor(rows, requires_grad=True)
    found = loss(given).value
    found.backward()
    assert float(found.detach()) == pytest.approx(by_hand(rows, config.variance, config.covariance), rel=1e-9)
    for i, j in [(0, 0), (11, 4), (29, 2)]:
        plus, minus = rows.copy(), rows.copy()
        plus[i, j] += 1e-5
        minus[i, j] -= 1e-5
        numeric = (
            by_hand(plus, config.variance, config.covariance) - by_hand(minus, config.variance, config.covariance)
        ) / 2e-5
        assert float(given.grad[i, j]) == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def test_vicreg_is_largest_at_collapse_and_safe_there():
    rows = torch.zeros(16, 4, requires_grad=True)
    loss = VicReg(VicRegConfig())(rows).value
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.99, abs=1e-6) and torch.isfinite(rows.grad).all()
    white = torch.linalg.qr(torch.randn(64, 4, dtype=torch.float64))[0]
    white = torch.linalg.qr(white - white.mean(0))[0]
    assert float(VicReg(VicRegConfig())(1.1 * white * 63**0.5).value) == pytest.approx(0, abs=1e-9)


# --- two workers


def one_share(rank, world, place, rows, queue):
    join(place, rank, world)
    results = {}
    for name, loss, more in (("sigreg", sigreg(slices=8), (STEP,)), ("vicreg", VicReg(VicRegConfig()), ())):
        share = rows[rank::2].clone().requires_grad_()
        found = loss(share, *more).value
        found.backward()
        results[name] = float(found.detach()), share.grad.numpy()
    queue.put((rank, results))
    dist.barrier()
    dist.destroy_process_group()


def test_two_workers_equal_one():
    rows = torch.tensor(1.5 * samples(24, 6))
    found = dict(together(2, one_share, rows, answers=2))
    for name, loss, more in (("sigreg", sigreg(slices=8), (STEP,)), ("vicreg", VicReg(VicRegConfig()), ())):
        whole = rows.clone().requires_grad_()
        expected = loss(whole, *more).value
        expected.backward()
        for rank in range(2):
            share, grad = found[rank][name]
            assert share == pytest.approx(float(expected.detach()), rel=1e-12)
            # gradients are averaged over the workers, so each has its rows' gradient twice
            assert np.allclose(grad, 2 * whole.grad[rank::2].numpy(), rtol=1e-9, atol=1e-15)
