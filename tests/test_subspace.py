"""Subspace diagnostics on codes whose answer is known, and against independent formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import subspace_angles
from sklearn import metrics as sk
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from trainer.errors import UsageError
from trainer.probes.ranks import effective_ranks
from trainer.subspace import circle, harmonics, operators, overlap, spectra, trajectories, variance
from trainer.subspace.names import metric_name, parse_metric_name
from trainer.subspace.summary import load_arrays, save_arrays, summary
from trainer.subspace.sweep import Sweep, r2_score, split_anchors

ANCHORS, STEPS, WIDTH = 24, 36, 16
ANGLES = np.arange(STEPS) * (360 / STEPS)
SHIFTS = np.arange(-4.0, 5.0)


def mixing(seed=0, width=WIDTH):
    return np.random.default_rng(seed).normal(size=(width, width))


def turning(frequencies=(1,), content=4, phase=False, noise=0.0, seed=0):
    """(A, T, D) codes: cos and sin of k theta for each k, beside content of the anchor, mixed by a random matrix."""
    rng, theta = np.random.default_rng(seed + 1), np.deg2rad(ANGLES)
    offset = (
        rng.uniform(0, 2 * np.pi, size=(ANCHORS, len(frequencies))) if phase else np.zeros((ANCHORS, len(frequencies)))
    )
    phases = np.multiply.outer(theta, frequencies)[None] + offset[:, None]
    images = np.broadcast_to(rng.normal(size=(ANCHORS, 1, content)), (ANCHORS, STEPS, content))
    inner = np.concatenate([np.cos(phases), np.sin(phases), images], 2)
    return inner @ mixing(seed)[: inner.shape[2]] + noise * rng.normal(size=(ANCHORS, STEPS, WIDTH))


def still(seed=0):
    return np.broadcast_to(np.random.default_rng(seed).normal(size=(ANCHORS, 1, WIDTH)), (ANCHORS, STEPS, WIDTH)).copy()


def shifting(seed=0, noise=0.0):
    """Codes that move along one direction, the same for all anchors."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(size=(ANCHORS, 1, WIDTH)) + SHIFTS[None, :, None] * rng.normal(size=WIDTH)
    return moved + noise * rng.normal(size=moved.shape)


def sweep(codes, values=ANGLES, periodic=True):
    return Sweep(torch.as_tensor(values), torch.as_tensor(codes), periodic)


TRAIN, HELD = split_anchors(ANCHORS, 0)


# ------------------------------------------------------------------------------------------------- the input


@pytest.mark.parametrize(
    "values, periodic, word",
    [
        (np.linspace(0, 360, STEPS), True, "end left out"),  # 0 and 360 degrees are one pose
        (np.linspace(-180, 180, STEPS + 1)[1:] + 5, True, "contain 0"),
        (np.arange(STEPS) * 5.0, True, "circle"),
        (ANGLES[::-1], True, "increase"),
        (np.r_[ANGLES[:-1], 355], True, "equal steps"),
        (np.arange(1, 10.0), False, "contain 0"),
        ([0.0, 1.0], False, "at least 3"),
        ([0.0, 1.0, math.nan], False, "finite"),
    ],
)
def test_a_grid_that_would_mislead_is_refused(values, periodic, word):
    with pytest.raises(UsageError, match=word):
        Sweep(torch.as_tensor(np.array(values)), torch.zeros(ANCHORS, len(values), 3), periodic)


def test_codes_are_checked_and_single_precision_is_read():
    with pytest.raises(UsageError, match="shape"):
        sweep(np.zeros((ANCHORS, STEPS - 1, 2)))
    with pytest.raises(UsageError, match="NaN"):
        sweep(np.full((ANCHORS, STEPS, 2), np.nan))
    with pytest.raises(UsageError, match="anchors"):
        split_anchors(3, 0)
    made = Sweep(torch.arange(-180, 180, 10), torch.as_tensor(turning()).float(), True)
    assert made.codes.dtype == np.float64 and made.zero == 18
    # an encoder may answer a rounding error differently in another place of the batch; that is not a direction
    rounded = sweep(torch.as_tensor(still()).float() * (1 + 1e-7 * torch.rand(ANCHORS, STEPS, WIDTH)))
    assert pooled(rounded.differences(), 2) == 0 and circle.rotation_circle(rounded, TRAIN, HELD).winding == 0


def test_anchors_are_split_by_seed_without_touching_the_global_generator():
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    one, two = split_anchors(40, 1), split_anchors(40, 2)
    summary({"rotation": (ANGLES, turning())}, angles=["rotation"])
    assert np.array_equal(state[0], np.random.get_state()[1]) and torch.equal(state[1], torch.get_rng_state())
    assert sorted([*one[0], *one[1]]) == list(range(40)) and not np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], split_anchors(40, 1)[1])
    assert [[len(part) for part in split_anchors(count, 1)] for count in (4, 5, 40)] == [[2, 2], [3, 2], [20, 20]]


# -------------------------------------------------------------------------------------------------- spectra


def pooled(differences, k):
    return spectra.eigenspectrum(differences, k, seed=0).cumulative[-1]


@pytest.mark.parametrize("anchors", [4, ANCHORS])  # fewer rows than features, and more
def test_spectrum_shares_and_ranks_equal_those_of_a_library(anchors):
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(anchors, 9, 50)) * np.linspace(3, 0.1, 50)
    rows = differences.reshape(-1, 50)
    reference = PCA().fit(rows)
    assert pooled(differences, 4) == pytest.approx(reference.explained_variance_ratio_[:4].sum())
    each = [PCA().fit(anchor).explained_variance_ratio_[:3].sum() for anchor in differences]
    assert spectra.ev_per_anchor(differences, (3,)) == [pytest.approx(np.mean(each))]
    assert spectra.effective_rank(differences) == pytest.approx(effective_ranks(torch.as_tensor(rows))["rank_pr"])
    basis = spectra.subspace_basis(differences, 5)
    assert np.allclose(basis.T @ basis, np.eye(5)) and subspace_angles(basis, reference.components_[:5].T).max() < 1e-6
    curve = spectra.eigenspectrum(differences, 8, seed=0).cumulative
    assert np.allclose(curve, np.cumsum(reference.explained_variance_ratio_)[:8])


@pytest.mark.parametrize("width", [6, 200])
def test_the_band_equals_a_plain_bootstrap_over_anchors(width):
    rng = np.random.default_rng(3)
    scales = np.r_[3, 2, np.full(width - 2, 0.3)]
    differences = rng.normal(size=(12, 1, width)) * scales + 0.3 * rng.normal(size=(12, 7, width)) * scales
    band = spectra.eigenspectrum(differences, 3, seed=5, draws=60)
    again, curves = np.random.default_rng(5), []
    for _ in range(60):
        rows = differences[again.integers(12, size=12)].reshape(-1, width)
        eigenvalues = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
        curves.append(np.cumsum(eigenvalues[:3]) / eigenvalues.sum())
    half = 1.96 * np.std(curves, axis=0, ddof=1)
    # beyond 64 features the resampled spectrum is taken within the leading directions only
    expected = np.clip(band.cumulative + [-half, half], 0, 1)
    assert np.allclose([band.low, band.high], expected, atol=1e-9 if width == 6 else 0.01)
    assert (band.low <= band.cumulative).all() and band.high[0] - band.low[0] > 0.05
    assert not np.allclose(band.low, spectra.eigenspectrum(differences, 3, seed=6, draws=60).low)
    assert np.ptp(spectra.eigenspectrum(np.zeros((5, 4, 3)), 2, seed=0).high) == 0


def test_the_three_versions_tell_a_common_turn_from_one_per_image():
    common, own = sweep(turning()), sweep(turning(phase=True))
    rng = np.random.default_rng(0)
    theta = np.deg2rad(ANGLES)
    planes = np.linalg.qr(rng.normal(size=(ANCHORS, WIDTH, 2)))[0]
    private = sweep(np.stack([np.cos(theta), np.sin(theta)], 1)[None] @ planes.transpose(0, 2, 1))
    found = {}
    for name, made in (("common", common), ("own phase", own), ("own plane", private)):
        d = made.differences()
        found[name] = pooled(d, 2), spectra.ev_per_anchor(d, (2,))[0], spectra.ev_action(made, TRAIN, HELD, 2)
    assert found["common"] == pytest.approx((1, 1, 1))
    assert found["own phase"][:2] == pytest.approx((1, 1)) and found["own phase"][2] < 0.2
    assert found["own plane"][0] < 0.4 and found["own plane"][1] == pytest.approx(1) and found["own plane"][2] < 0.2
    # one frequency in three pairs and another in one fill 2 x multiplicity directions each
    many = sweep(turning((1, 1, 1, 2), phase=True, content=1)).differences()
    assert pooled(many, 2) < 0.95 and pooled(many, 8) == pytest.approx(1)


def test_action_explained_is_the_held_out_r2_of_a_regression_on_the_factor():
    made = sweep(turning((1, 3), noise=0.3))
    design = np.column_stack([f(k * made.radians) for k in (1, 2) for f in (np.cos, np.sin)] + [np.ones(STEPS)])
    d = made.differences()
    weights = np.linalg.lstsq(np.tile(design, (len(TRAIN), 1)), d[TRAIN].reshape(-1, WIDTH), rcond=None)[0]
    truth, guess = d[HELD].reshape(-1, WIDTH), np.tile(design @ weights, (len(HELD), 1))
    expected = sk.r2_score(truth, guess, multioutput="variance_weighted")
    assert spectra.ev_action(made, TRAIN, HELD, 4) == pytest.approx(expected) and expected < 0.7
    assert spectra.ev_action(made, TRAIN, HELD, 6) > expected + 0.2  # harmonic 3 counts once it is among the functions
    linear = sweep(shifting(), SHIFTS, periodic=False)
    assert spectra.ev_action(linear, TRAIN, HELD, 1) == pytest.approx(1)
    for k, bad in ((3, made), (0, made), (9, linear)):
        with pytest.raises(UsageError, match=f"k = {k}"):
            spectra.ev_action(bad, TRAIN, HELD, k)


# -------------------------------------------------------------------------------------------------- overlap


def test_overlap_of_identical_orthogonal_nested_and_random_subspaces():
    rng = np.random.default_rng(0)
    full = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    u, v = full[:, :4], full[:, 4:8]
    turned = u @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert overlap.overlap(u, turned) == pytest.approx(1) and overlap.overlap_log(u, turned) == pytest.approx(1 / 4)
    assert overlap.overlap(u, v) == pytest.approx(0, abs=1e-12)
    assert overlap.overlap(u, full[:, :7]) == pytest.approx(1)  # contained
    draws = [np.linalg.qr(rng.normal(size=(40, k)))[0] for _ in range(150) for k in (3, 6)]
    chance = np.mean([overlap.overlap(a, b) for a, b in zip(draws[::2], draws[1::2], strict=True)])
    assert overlap.overlap_chance(draws[0], draws[1]) == 6 / 40 and chance == pytest.approx(6 / 40, abs=0.01)
    angles = overlap.principal_angles(draws[0], draws[1])
    assert np.all(np.diff(angles) >= 0)
    assert overlap.overlap(draws[0], draws[1]) == pytest.approx(np.square(np.cos(np.deg2rad(angles))).mean())
    with pytest.raises(UsageError, match="40 and 30"):
        overlap.overlap(u, full[:30, :4])
    with pytest.raises(UsageError, match="orthonormal"):
        overlap.overlap(u, 2 * v)
    empty = np.zeros((40, 0))
    assert math.isnan(overlap.overlap(u, empty)) and not len(overlap.principal_angles(u, empty))


def test_stability_sees_subspaces_not_bases():
    full = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]
    u = full[:, :2]
    average = overlap.update_projector(None, u, 0.9)
    assert overlap.stability(-u[:, ::-1], average) == pytest.approx(1)  # the log's average of bases would cancel
    moved = overlap.update_projector(average, full[:, 2:4], 0.75)
    assert overlap.stability(u, moved) == pytest.approx(0.75)
    assert overlap.stability(full[:, 2:4], moved) == pytest.approx(0.25)
    assert math.isnan(overlap.stability(u[:, :0], moved))
    with pytest.raises(UsageError, match="decay"):
        overlap.update_projector(average, u, 1.0)
    with pytest.raises(UsageError, match="10 features"):
        overlap.update_projector(average, u[:9], 0.5)


# ------------------------------------------------------------------------------------------------- variance


def test_factor_variance_is_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(6, 1, 1)) + 0.7 * rng.normal(size=(6, 5, 1)) + 3
    f = stats.f_oneway(*codes[:, :, 0]).statistic  # F = MSB / MSW, so SSW share = 1 / (1 + F dfB / dfW)
    assert variance.factor_variance(codes) == pytest.approx(1 / (1 + f * 5 / 24))
    assert variance.intraclass_correlation(codes) == pytest.approx((f - 1) / (f + 4))
    share = variance.factor_variance(codes)
    assert variance.factor_variance(codes + 100) == pytest.approx(share)  # the log's energy shrinks with a common mean
    moved, first = np.square(codes[:, 1] - codes[:, 0]).sum(), codes[:, 0]
    assert moved / np.square(first + 100).sum() < 0.01 * moved / np.square(first).sum()
    assert variance.factor_variance(still()) < 1e-12 and variance.intraclass_correlation(still()) == pytest.approx(1)
    only = np.broadcast_to(rng.normal(size=(1, 5, 3)), (6, 5, 3))
    assert variance.factor_variance(only) == pytest.approx(1)
    assert variance.intraclass_correlation(only) == pytest.approx(-1 / 4)
    # several features add their sums of squares
    wide = rng.normal(size=(6, 5, 3)) + rng.normal(size=(6, 1, 3))
    within = sum(wide[a, :, j].var() * 5 for a in range(6) for j in range(3))
    assert variance.factor_variance(wide) == pytest.approx(within / (wide.var((0, 1)).sum() * 30))
    with pytest.raises(UsageError, match="shape"):
        variance.factor_variance(wide[:, 0])


def test_spread_of_codes():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(30, 5)) + 1
    cosine = sk.pairwise.cosine_similarity(codes)
    assert variance.mean_pairwise_cosine(codes) == pytest.approx(cosine[~np.eye(30, dtype=bool)].mean())
    expected = math.sqrt(codes.var(0).sum() / np.square(np.linalg.norm(codes, axis=1)).mean())
    assert variance.relative_std(codes) == pytest.approx(expected) == pytest.approx(variance.relative_std(7 * codes))
    assert variance.relative_std(np.ones((4, 3))) == 0


def test_sparsity_and_participation_of_coordinates():
    assert variance.hoyer(np.array([[0, 0, 5.0, 0], [2, 2, 2, 2], [0, 0, 0, 0], [3, 4, 0, 0]])) == pytest.approx(
        [1, 0, 0, 2 - 7 / 5]
    )
    basis = np.eye(8)[:, :3]
    assert variance.coordinate_participation(basis) == pytest.approx(3)
    assert variance.coordinate_participation(np.full((8, 1), 8**-0.5)) == pytest.approx(8)
    with pytest.raises(UsageError, match="2 features"):
        variance.hoyer(np.ones((3, 1)))


# ---------------------------------------------------------------------------- circle, harmonics, trajectories


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_code_of_one_frequency_is_a_circle_wound_k_times(k):
    made = sweep(turning((k,)))
    found = circle.rotation_circle(made, TRAIN, HELD, harmonics=5)
    assert found.scores == pytest.approx((np.arange(1, 6) == k).astype(float), abs=1e-9)
    assert found.winding == k and (found.windings == k).all() and found.points.shape == (len(HELD), STEPS, 2)
    shares = harmonics.harmonic_shares(harmonics.harmonic_power(made))
    assert shares[:, k - 1] == pytest.approx(np.ones(ANCHORS))


def test_the_circle_score_is_a_held_out_regression_on_two_components():
    made = sweep(turning((1, 2), noise=0.5))
    centred = made.codes - made.codes.mean(1, keepdims=True)
    pca = PCA(2).fit(centred[TRAIN].reshape(-1, WIDTH))
    goal = np.stack([np.cos(made.radians), np.sin(made.radians)], 1)
    fitted, held = (pca.transform(centred[part].reshape(-1, WIDTH)) for part in (TRAIN, HELD))
    weights = np.linalg.lstsq(fitted, np.tile(goal, (len(TRAIN), 1)), rcond=None)[0]
    expected = sk.r2_score(np.tile(goal, (len(HELD), 1)), held @ weights)
    assert circle.rotation_circle(made, TRAIN, HELD).scores[0] == pytest.approx(expected, abs=1e-9)


def test_a_code_without_the_angle_or_with_a_phase_per_image_scores_nothing():
    rest = circle.rotation_circle(sweep(still()), TRAIN, HELD)
    assert not rest.scores.any() and rest.winding == 0 and not rest.windings.any() and math.isnan(rest.radius_cv)
    noise = sweep(np.random.default_rng(0).normal(size=(ANCHORS, STEPS, WIDTH)))
    assert circle.rotation_circle(noise, TRAIN, HELD).scores[0] < 0.05
    own = circle.rotation_circle(sweep(turning(phase=True)), TRAIN, HELD)
    assert own.scores[0] < 0.3 and (np.abs(own.windings) == 1).all() and len(set(own.windings)) == 1
    mapped = sweep(turning()[:, :, :1])  # one feature: a line, half of a circle
    assert circle.rotation_circle(mapped, TRAIN, HELD).scores[0] == pytest.approx(0.5)


def test_winding_and_radius_of_curves():
    theta = np.deg2rad(ANGLES)
    round_ = np.stack([np.cos(theta), np.sin(theta)], 1)
    assert circle.winding_number(round_) == 1 and circle.winding_number(round_[::-1]) == -1
    assert circle.winding_number(round_ + 3) == 0 and circle.winding_number(np.zeros((9, 2))) == 0
    assert circle.radius_cv(round_[None]) == pytest.approx(0, abs=1e-12)
    radii = 2 + np.sin(3 * theta)
    assert circle.radius_cv((round_ * radii[:, None])[None]) == pytest.approx(radii.std() / radii.mean())


@pytest.mark.parametrize("steps", [11, 12])
def test_harmonic_power_is_a_decomposition_of_the_variance(steps):
    codes = np.random.default_rng(0).normal(size=(5, steps, 3)) + 2
    made = sweep(codes, np.arange(steps) * 360 / steps)
    power = harmonics.harmonic_power(made)
    assert power[:, 1:].sum(1) == pytest.approx(codes.var(1).sum(1))
    assert power[:, 0] == pytest.approx(np.square(codes.mean(1)).sum(1))
    wave = np.exp(-2j * made.radians)  # the definition, at k = 2
    assert power[:, 2] == pytest.approx(2 * np.square(np.abs(np.einsum("atd,t->ad", codes, wave) / steps)).sum(1))
    with pytest.raises(UsageError, match="full turn"):
        harmonics.harmonic_power(sweep(shifting(), SHIFTS, periodic=False))
    assert not harmonics.harmonic_shares(np.zeros((2, 4))).any()


def test_parallelism_is_the_mean_cosine_between_anchors():
    assert trajectories.parallelism(sweep(turning()))[0] == pytest.approx(1)
    assert trajectories.parallelism(sweep(still()))[0] == 0
    made = sweep(turning((1, 2), noise=0.5))
    mean, curve = trajectories.parallelism(made)
    d = made.codes - made.codes[:, :1]
    brute = [sk.pairwise.cosine_similarity(d[:, t])[~np.eye(ANCHORS, dtype=bool)].mean() for t in range(1, STEPS)]
    assert (
        curve[1:] == pytest.approx(np.array(brute)) and math.isnan(curve[0]) and mean == pytest.approx(np.mean(brute))
    )
    random = sweep(np.random.default_rng(0).normal(size=(200, 6, 300)), np.arange(6.0), periodic=False)
    # differences to a common reference share nothing between anchors
    assert abs(trajectories.parallelism(random)[0]) < 0.01


def test_paths_belong_to_one_anchor_each_and_do_not_depend_on_the_order_of_anchors():
    made = sweep(shifting(noise=0.2), SHIFTS, periodic=False)
    paths = trajectories.plane_paths(made, TRAIN, HELD)
    assert paths.shape == (len(HELD), len(SHIFTS), 2) and np.abs(paths[:, made.zero]).max() == 0
    order = np.random.default_rng(0).permutation(ANCHORS)
    mixed = sweep(made.codes[order], SHIFTS, periodic=False)
    place = np.argsort(order)
    shuffled = trajectories.plane_paths(mixed, place[TRAIN], place[HELD])
    assert np.allclose(np.abs(shuffled), np.abs(paths))
    # changing one anchor changes its own path and no other
    codes = made.codes.copy()
    codes[HELD[0]] += np.random.default_rng(1).normal(size=codes[0].shape)
    touched = trajectories.plane_paths(sweep(codes, SHIFTS, periodic=False), TRAIN, HELD)
    assert np.allclose(touched[1:], paths[1:]) and not np.allclose(touched[0], paths[0])


# ------------------------------------------------------------------------------------------------ operators


@pytest.mark.parametrize("frequencies", [(1,), (1, 2, 2)])
def test_an_equivariant_code_has_operators_that_compose_and_turn(frequencies):
    made = sweep(turning(frequencies, phase=True))
    fitted = operators.fit_operators(made, TRAIN, HELD, penalty=1e-10)
    assert min(fitted.r2_best.min(), *fitted.pooled.values()) > 1 - 1e-6 and fitted.retained == pytest.approx(1)
    assert len(fitted.variances) == 2 * len(frequencies) and len(fitted.lags) == STEPS - 1
    for errors in operators.composition_errors(fitted):
        assert len(errors) == 35 * 36 // 2 and errors.max() < 1e-4
    delta = np.deg2rad(fitted.deltas[3])
    expected = np.exp(1j * delta * np.array([*frequencies, *(-k for k in frequencies)]))
    assert fitted.deltas[3] == pytest.approx(40)
    for value in expected:
        assert np.sum(np.abs(fitted.eigenvalues()[3] - value) < 1e-5) == np.sum(np.abs(expected - value) < 1e-5)
    # the ordinary penalty costs little
    assert operators.fit_operators(made, TRAIN, HELD).pooled["best"] > 0.99


def test_a_code_without_the_factor_is_predicted_no_better_than_by_a_baseline():
    rest = operators.fit_operators(sweep(still()), TRAIN, HELD)
    assert not rest.r2_identity.any() and rest.pooled["best"] == rest.pooled["identity"] == 0
    assert np.allclose(rest.matrices, np.eye(len(rest.variances)))
    noise = sweep(still() + 0.1 * np.random.default_rng(1).normal(size=(ANCHORS, STEPS, WIDTH)))
    fitted = operators.fit_operators(noise, TRAIN, HELD)
    # no change is twice as wrong as the mean on noise: that baseline alone would flatter
    assert fitted.pooled["best"] < 0.01 and fitted.pooled["mean"] < 0.01 and 0.4 < fitted.pooled["identity"] < 0.5
    # moving in a way that depends on the image and not on the code: no operator either
    theta, rng = np.deg2rad(ANGLES), np.random.default_rng(2)
    rates = rng.integers(1, 6, size=ANCHORS)
    spun = np.stack([np.cos(np.outer(rates, theta)), np.sin(np.outer(rates, theta))], 2)
    turned = operators.fit_operators(sweep(spun), TRAIN, HELD, penalty=1e-6)
    assert turned.r2_best.min() < 0.3 and operators.composition_errors(turned)[0].mean() > 0.3


def test_an_operator_is_a_ridge_regression_towards_the_identity():
    made = sweep(turning((1, 2), noise=0.4))
    fitted = operators.fit_operators(made, TRAIN, HELD, penalty=0.05, max_dims=5)
    codes = made.codes - made.codes.mean(1, keepdims=True)
    pca = PCA(5).fit(codes[TRAIN].reshape(-1, WIDTH))
    (x, held_x), (y, held_y) = (
        [pca.transform(part[rows].reshape(-1, WIDTH)) for rows in (TRAIN, HELD)]
        for part in (codes, np.roll(codes, -2, axis=1))
    )
    ridge = Ridge(alpha=0.05 * np.square(x).sum() / 5).fit(x, y - x)
    error = np.square(held_y - held_x - ridge.predict(held_x)).sum()
    baselines = np.square(held_y - y.mean(0)).sum(), np.square(held_y - held_x).sum()
    found = fitted.r2_mean[1], fitted.r2_identity[1], fitted.r2_best[1]
    assert found == pytest.approx(tuple(1 - error / below for below in (*baselines, min(baselines))))
    # the signs of principal directions are free, eigenvalues are not
    expected = np.linalg.eigvals(np.eye(5) + ridge.coef_)
    assert np.sort_complex(fitted.eigenvalues()[1]) == pytest.approx(np.sort_complex(expected))
    loose = operators.fit_operators(made, TRAIN, HELD, penalty=1e-6, max_dims=5)
    assert not np.allclose(loose.matrices, fitted.matrices) and 0 < fitted.retained < 1
    for wrong in ({"penalty": 0}, {"max_dims": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            operators.fit_operators(made, TRAIN, HELD, **wrong)


def test_composition_errors_are_norms_and_weigh_directions_by_variance():
    fitted = operators.fit_operators(sweep(turning((1, 2), noise=0.4)), TRAIN, HELD)
    plain, weighted = operators.composition_errors(fitted)
    m, scale = fitted.matrices, np.diag(np.sqrt(fitted.variances))
    gap = m[0] @ m[1] - m[2]  # 10 + 20 = 30 degrees is the second pair
    assert plain[1] == pytest.approx(np.sqrt(np.trace(gap.T @ gap)) / np.linalg.norm(m[2], "fro"))
    assert weighted[1] == pytest.approx(np.linalg.norm(gap @ scale, "fro") / np.linalg.norm(m[2] @ scale, "fro"))
    assert weighted.mean() < 0.7 * plain.mean()


def test_operators_of_a_shift_compose_without_wrapping_round():
    fitted = operators.fit_operators(sweep(shifting(), SHIFTS, periodic=False), TRAIN, HELD)
    assert fitted.deltas.tolist() == [1, 2, 3, 4] and fitted.r2_identity.min() > 1 - 1e-9
    plain, weighted = operators.composition_errors(fitted)
    assert len(plain) == 4 and max(plain.max(), weighted.max()) < 1e-6  # 1+1, 1+2, 1+3, 2+2


def test_r2_is_scikit_learns():
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    assert r2_score(truth, guess) == pytest.approx(sk.r2_score(truth, guess, multioutput="variance_weighted"))
    assert r2_score(np.ones((5, 2)), np.ones((5, 2))) == 0


# ---------------------------------------------------------------------------------------- names and summary


def test_names_with_underscores_read_back():
    name = metric_name("subspace_ev.pooled.k2", "shift_x", "trans_y", code="z_agg@3")
    assert name == "subspace_ev.pooled.k2/shift_x+trans_y.z_agg@3"
    assert parse_metric_name(name) == ("subspace_ev.pooled.k2", ("shift_x", "trans_y"), "z_agg@3")
    assert parse_metric_name("factor_variance/rotation") == ("factor_variance", ("rotation",), "")
    for bad in (("m",), ("m", "a+b"), ("m", "a.b"), ("m", "a/b"), ("m", "")):
        with pytest.raises(UsageError, match="factor names"):
            metric_name(*bad)
    with pytest.raises(UsageError, match="code"):
        metric_name("m", "a", code="a.b")
    with pytest.raises(UsageError, match="metric/factor"):
        parse_metric_name("factor_variance")


def three(noise=0.1, seed=0):
    return {
        "rotation": (torch.as_tensor(ANGLES), torch.as_tensor(turning(noise=noise, seed=seed)).float()),
        "shift_x": (torch.as_tensor(SHIFTS), torch.as_tensor(shifting(seed, noise)).float()),
        "shift_y": (torch.as_tensor(SHIFTS), torch.as_tensor(shifting(seed + 1, noise)).float()),
    }


def test_the_summary_holds_every_metric_of_the_code_and_of_its_baselines():
    still_x = {f: (v, c[:, :1].expand_as(c)) for f, (v, c) in three().items()}
    made = summary(three(), angles={"rotation"}, baselines={"untrained": three(1.0, 5), "pixels": still_x})
    by_code = {name: {} for name in ("", "untrained", "pixels")}
    for name, value in made.metrics.items():
        assert isinstance(value, float)
        metric, factors, code = parse_metric_name(name)
        by_code[code][metric, factors] = value
        assert set(factors) <= {"rotation", "shift_x", "shift_y"}
    assert set(by_code[""]) == set(by_code["untrained"]) == set(by_code["pixels"])
    one = {name: value for (name, factors), value in by_code[""].items() if factors == ("rotation",)}
    wanted = ["subspace_ev.pooled.k2", "subspace_ev.anchor.k4", "subspace_ev.action.k8", "subspace_effrank"]
    wanted += ["factor_variance", "circle_score.h1", "circle_radius_cv", "winding.mean_curve", "winding.anchors"]
    wanted += ["parallelism", "operator_r2.mean", "operator_r2.identity", "operator_r2.best"]
    wanted += ["composition_error.frobenius", "composition_error.weighted", "harmonic_share.h1"]
    wanted += ["coordinate_participation.k4", "hoyer.codes", "hoyer.basis.k4", "relative_std", "pairwise_cosine"]
    assert set(wanted) <= set(one)
    assert ("circle_score.h1", ("shift_x",)) not in by_code[""] and ("overlap.k4", ("shift_x", "shift_y")) in by_code[
        ""
    ]
    assert one["subspace_ev.action.k2"] > 0.9 and one["circle_score.h1"] > 0.9 and one["winding.mean_curve"] == 1
    assert by_code["untrained"]["circle_score.h1", ("rotation",)] < one["circle_score.h1"]
    for metric in (
        *(f"subspace_ev.{kind}.k2" for kind in ("pooled", "anchor", "action")),
        "parallelism",
        "factor_variance",
    ):
        assert by_code["pixels"][metric, ("rotation",)] == pytest.approx(0, abs=1e-9)
    assert one["subspace_ev.pooled.k4"] == pytest.approx(pooled(sweep(three()["rotation"][1]).differences(), 4))


def test_stability_continues_from_the_stored_arrays(tmp_path):
    first = summary(three(), angles=["rotation"], code="z_agg@3")
    assert not any(name.startswith("stability") for name in first.metrics)
    save_arrays(tmp_path / "1.npz", first.arrays)
    stored = load_arrays(tmp_path / "1.npz")
    assert set(stored) == set(first.arrays)
    for name, array in first.arrays.items():
        assert np.array_equal(stored[name], array, equal_nan=array.dtype.kind == "f")
    same = summary(three(), angles=["rotation"], code="z_agg@3", previous=stored)
    other = summary(three(seed=9), angles=["rotation"], code="z_agg@3", previous=stored, decay=0.5)
    for factor in ("rotation", "shift_x", "shift_y"):
        assert same.metrics[f"stability.k4/{factor}.z_agg@3"] == pytest.approx(1)
        assert same.metrics[f"stability_angle.k4/{factor}.z_agg@3"] == pytest.approx(0, abs=1e-4)
        assert other.metrics[f"stability.k4/{factor}.z_agg@3"] < 0.8
    key = "projector/rotation.z_agg@3"
    basis = other.arrays["basis/rotation.z_agg@3"]
    assert np.allclose(other.arrays[key], 0.5 * stored[key] + 0.5 * basis @ basis.T)


def test_the_same_input_gives_the_same_bits_and_switches_act():
    base = summary(three(), angles=["rotation"])
    again = summary(three(), angles=["rotation"])
    assert base.metrics == again.metrics
    seeded = summary(three(), angles=["rotation"], seed=1)
    assert seeded.metrics["circle_score.h1/rotation"] != base.metrics["circle_score.h1/rotation"]
    narrow = summary(three(), angles=["rotation"], ks=(6,), dims=2)
    assert narrow.arrays["basis/rotation"].shape == (WIDTH, 2) and base.arrays["basis/rotation"].shape == (WIDTH, 4)
    assert "overlap.k2/rotation+shift_x" in narrow.metrics and "subspace_ev.pooled.k6/rotation" in narrow.metrics
    assert "subspace_ev.pooled.k2/rotation" not in narrow.metrics
    line = summary(three(), angles=[])
    assert "circle_score.h1/rotation" not in line.metrics and not len(line.arrays["angles"])


@pytest.mark.parametrize(
    "change, word",
    [
        ({"angles": ["rotatoin"]}, "rotatoin"),
        ({"ks": (3,)}, "even"),
        ({"baselines": {"": three()}}, "baseline"),
        ({"baselines": {"pixels": {"rotation": three()["rotation"]}}}, "exactly these"),
        ({"baselines": {"pixels": three() | {"scale": three()["shift_x"]}}}, "exactly these"),
        ({"baselines": {"pixels": three() | {"shift_x": (2 * SHIFTS, three()["shift_x"][1])}}}, "other values"),
        ({"baselines": {"pixels": three() | {"shift_x": (SHIFTS, three()["shift_x"][1][:9])}}}, "other values"),
        ({"baselines": {"pixels": three() | {"shift_x": (SHIFTS, three()["shift_x"][1][..., :5])}}}, "one encoder"),
        ({"baselines": {"pix.els": three()}}, "code"),
    ],
)
def test_a_wrong_request_is_refused(change, word):
    with pytest.raises(UsageError, match=word):
        summary(three(), **({"angles": ["rotation"]} | change))
