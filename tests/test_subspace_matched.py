"""The covariance-matched chance of overlap, against closed forms, quadrature and a simulation of another kind."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import orth, subspace_angles

from trainer.subspace.matched import Chance, MatchedNull, variances_of
from trainer.subspace.spectra import subspace_basis
from trainer.subspace.summary import summary

DECAY = 1.0 / np.arange(1, 25)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 100.0])
def test_two_dimensions_have_a_closed_form(ratio):
    # E cos^2 of the first axis is sqrt(s1) / (sqrt(s1) + sqrt(s2)); one half if both are equal
    p = math.sqrt(ratio) / (math.sqrt(ratio) + 1)
    found = MatchedNull(np.array([ratio, 1.0]), seed=0, draws=20_000).overlap(1, 1)
    assert found.mean == pytest.approx(p**2 + (1 - p) ** 2, abs=0.005)
    assert 0 <= found.low < found.mean < found.high <= 1


def test_one_direction_each_is_an_integral():
    def share(i):
        def inside(t):
            return DECAY[i] / (1 + 2 * t * DECAY[i]) * np.prod(1 / np.sqrt(1 + 2 * t * DECAY))

        return quad(inside, 0, np.inf)[0]

    p = np.array([share(i) for i in range(len(DECAY))])
    assert p.sum() == pytest.approx(1)
    assert MatchedNull(DECAY, 1, draws=20_000).overlap(1, 1).mean == pytest.approx(np.square(p).sum(), abs=0.003)


@pytest.mark.parametrize("k_u, k_v", [(4, 4), (2, 4), (4, 1)])
def test_equal_variances_give_the_isotropic_chance(k_u, k_v):
    found = MatchedNull(np.full(32, 7.0), 0).overlap(k_u, k_v)
    assert found.mean == pytest.approx(max(k_u, k_v) / 32, rel=0.02)
    assert found == MatchedNull(np.full(32, 7.0), 0).overlap(k_v, k_u)


def test_wider_subspaces_and_the_interval_agree_with_a_simulation_through_scipy():
    # rows drawn from the full covariance, turned away from the axes, compared by principal angles
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    covariance = turn @ np.diag(DECAY) @ turn.T
    rows = rng.multivariate_normal(np.zeros(24), covariance, size=(600, 7))
    simulated = [np.square(np.cos(subspace_angles(orth(x[:4].T), orth(x[4:].T)))).mean() for x in rows]
    found = MatchedNull(np.linalg.eigvalsh(covariance)[::-1], 0, draws=4000).overlap(4, 3)
    assert found.mean == pytest.approx(np.mean(simulated), abs=4 * np.std(simulated) / math.sqrt(600))
    assert [found.low, found.high] == pytest.approx(np.quantile(simulated, [0.025, 0.975]), abs=0.04)
    assert found.mean > 1.5 * 4 / 24  # far above the isotropic chance


def test_the_variances_are_those_of_all_codes_about_one_mean():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(5, 6, 4)) * [3, 1, 1, 0] + 100, rng.normal(size=(5, 9, 4)) * [1, 2, 1, 0] - 100]
    rows = np.concatenate([part.reshape(-1, 4) for part in parts])
    assert variances_of(parts) == pytest.approx(np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1], rel=1e-9, abs=1e-9)


def test_codes_at_rest_or_of_few_directions_have_no_or_a_certain_overlap():
    assert all(math.isnan(x) for x in MatchedNull(np.zeros(8), 0).overlap(4, 4))
    assert all(math.isnan(x) for x in MatchedNull(DECAY, 0).overlap(0, 4))
    # codes of two directions: any two subspaces of two or more dimensions are the same one
    assert MatchedNull(np.array([2.0, 1.0, 0, 0]), 0).overlap(4, 4) == pytest.approx(Chance(1, 1, 1))


def test_unrelated_directions_of_an_unequal_covariance_lie_inside_the_null_and_outside_chance():
    # two factors whose effects are independent draws from one strongly unequal covariance: nothing links them
    rng, hits, isotropic = np.random.default_rng(3), 0, 0
    for _ in range(40):
        content = rng.normal(size=(12, 1, 32)) * np.arange(1, 33) ** -1.0
        effects = rng.normal(size=(2, 5, 32)) * 0.5 * np.arange(1, 33) ** -1.0
        effects[:, 2] = 0  # the middle value is the untransformed image
        values = np.arange(-2.0, 3.0)
        made = summary(
            {name: (values, content + effect) for name, effect in zip(("a", "b"), effects, strict=True)}, angles=[]
        )
        low, high = (made.metrics[f"overlap_matched.{end}.k4/a+b"] for end in ("low", "high"))
        found = made.metrics["overlap.k4/a+b"]
        hits += low <= found <= high
        isotropic += found > 1.5 * made.metrics["overlap_chance.k4/a+b"]
        assert subspace_basis(effects[0] - effects[0][2], 4).shape == (32, 4)
    assert hits >= 34 and isotropic >= 30


def test_the_summary_records_the_null_of_every_code_beside_chance():
    rng = np.random.default_rng(0)
    values = np.arange(-2.0, 3.0)
    sweeps = {name: (values, rng.normal(size=(6, 5, 8)) * np.arange(1, 9)) for name in ("a", "b", "c")}
    made = summary(sweeps, angles=[], baselines={"pixels": {n: (values, rng.normal(size=(6, 5, 8))) for n in "abc"}})
    for code in ("", ".pixels"):
        array = made.arrays[f"overlap_matched/a+b+c{code}"]
        assert array.shape == (3, 3, 3) and (array[1] <= array[0]).all() and (array[0] <= array[2]).all()
        for part, row in zip(("mean", "low", "high"), array, strict=True):
            assert made.metrics[f"overlap_matched.{part}.k4/a+c{code}"] == row[0, 2]
        assert f"overlap_chance.k4/a+b{code}" in made.metrics
    assert made.metrics["overlap_matched.mean.k4/a+b"] > made.metrics["overlap_matched.mean.k4/a+b.pixels"]
