"""The coding rate against an independent float64 formula, on both Gram sides."""

import numpy as np
import pytest
import torch
from oracles import Case

from trainer.config import RateConfig
from trainer.losses.coding_rate import CodingRate, logdet_identity_plus


def formula(form, z, eps2=0.05, alpha=1.0, center=False):
    """The loss term by eigenvalues of the d x d side, in numpy."""
    z = z.astype(np.float64)
    n, d = z.shape
    if form == "unit":
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        if center:
            z = z - z.mean(0)
        eigenvalues = np.linalg.eigvalsh(z.T @ z * d / (n * eps2))
        nats = 0.5 * np.log1p(eigenvalues.clip(0)).sum()
        return -nats * (d + n) / (d * n), nats
    if form == "ln":
        z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    z = z - z.mean(0)
    extra = 1e-4 if form == "log" else 0.0
    eigenvalues = np.linalg.eigvalsh(z.T @ z / n)
    nats = np.log(1 + extra + alpha * eigenvalues.clip(0)).sum()
    return -nats, nats


CASES = [
    ("unit", {}),
    ("unit", {"center": True}),
    ("unit", {"eps2": 0.5}),
    ("ln", {}),
    ("ln", {"alpha": 4.0}),
    ("log", {}),
    ("log", {"alpha": 0.3}),
]


@pytest.mark.parametrize("shape", [(64, 24), (20, 48)], ids=["d-side", "n-side"])
@pytest.mark.parametrize("form, options", CASES)
def test_value_and_gradient(form, options, shape):
    rng = np.random.default_rng(0)
    z = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) + 0.3
    rate = CodingRate(RateConfig(form=form, **options))
    rows = torch.tensor(z, requires_grad=True)
    out = rate(rows)
    term, nats = formula(form, z, **options)
    assert float(out.value.detach()) == pytest.approx(term, rel=1e-9)
    assert float(out.health["rate_nats"]) == pytest.approx(nats, rel=1e-9)
    out.value.backward()
    for i, j in [(0, 0), (3, 5), (shape[0] - 1, shape[1] - 1)]:
        step = 1e-5
        plus, minus = z.copy(), z.copy()
        plus[i, j] += step
        minus[i, j] -= step
        numeric = (formula(form, plus, **options)[0] - formula(form, minus, **options)[0]) / (2 * step)
        assert float(rows.grad[i, j]) == pytest.approx(numeric, rel=1e-5, abs=1e-9)
    single = rate(rows.detach().float())
    assert float(single.health["rate_nats"]) == pytest.approx(nats, abs=2e-3)


def test_both_gram_sides_agree():
    z = torch.randn(30, 40, dtype=torch.float64)
    wide = logdet_identity_plus(z, 0.7)
    padded = torch.cat([z, torch.zeros(20, 40, dtype=torch.float64)])  # more rows than columns: the other side
    assert float(wide) == pytest.approx(float(logdet_identity_plus(padded, 0.7)), rel=1e-12)


def test_unit_is_scale_free_and_the_logs_form_is_not():
    z = torch.randn(64, 32, dtype=torch.float64)
    for form, free in (("unit", True), ("ln", True), ("log", False)):
        rate = CodingRate(RateConfig(form=form))
        assert (abs(float(rate(10 * z).health["rate_nats"] - rate(z).health["rate_nats"])) < 1e-2) == free


@pytest.mark.parametrize("form", ["unit", "ln", "log"])
@pytest.mark.parametrize("collapsed", ["zero", "constant", "line"])
def test_full_collapse_is_safe_in_single_precision(form, collapsed):
    z = {
        "zero": torch.zeros(64, 48),
        "constant": torch.ones(64, 48) * 3,
        "line": torch.randn(64, 1) * torch.randn(1, 48),
    }[collapsed]
    z = z.clone().requires_grad_()
    out = CodingRate(RateConfig(form=form))(z)
    out.value.backward()
    assert torch.isfinite(out.value) and torch.isfinite(z.grad).all()
    assert 0 <= float(out.health["rate_utilisation"]) < 0.35


def test_utilisation_is_one_for_orthogonal_features():
    q = torch.linalg.qr(torch.randn(64, 32, dtype=torch.float64))[0]
    assert (
        float(
            CodingRate(RateConfig())(q @ torch.linalg.qr(torch.randn(32, 32, dtype=torch.float64))[0]).health[
                "rate_utilisation"
            ]
        )
        > 0.95
    )
    rows = torch.eye(32, dtype=torch.float64).repeat(2, 1)
    assert float(CodingRate(RateConfig())(rows).health["rate_utilisation"]) == pytest.approx(1, abs=1e-9)


def test_half_precision_input_is_computed_in_single_precision():
    z = torch.randn(64, 48)
    rate = CodingRate(RateConfig())
    with torch.autocast("cpu", torch.bfloat16):
        assert float(rate(z).health["rate_nats"]) == float(rate(z).health["rate_nats"])
        assert rate(z).health["rate_nats"].dtype == torch.float32
        inside = float(rate(z).health["rate_nats"])
    assert inside == float(rate(z).health["rate_nats"])


def test_a_failed_factorisation_is_nan_not_a_number():
    assert torch.isnan(logdet_identity_plus(torch.full((4, 6), float("nan")), 1.0))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["rate_v1_eps.5", "rate_v2_eps.05"])
def test_the_rate_of_unit_rows_is_simdinos(name):
    """Of each view by itself, their mean. Ours makes unit vectors of rows, so its gradient has no part along them."""
    case = Case("simdino", name)
    rate = CodingRate(RateConfig(eps2=case.settings["eps"]))
    views = case.inputs["z"].clone().requires_grad_()
    found = -torch.stack([rate(rows).value for rows in views]).mean()
    found.backward()
    case.equals(found, case.outputs["rate"])
    z, gradient = case.inputs["z"], case.gradients["z"]
    case.equals(views.grad, gradient - (gradient * z).sum(-1, keepdim=True) * z, "gradients")
