"""The coding rate over past features beside the batch, and what ToST's variational bound cannot see."""

import numpy as np
import pytest
import torch
from small import config, method, views

from trainer.config import RateConfig
from trainer.errors import UsageError
from trainer.loop import train
from trainer.losses.coding_rate import CodingRate
from trainer.probes.ranks import effective_ranks
from trainer.record.identity import arm_id
from trainer.record.run import read
from trainer.step import make_optimiser, optimise

pytestmark = pytest.mark.usefixtures("few_steps")

D = 12


def batches(count, n=4, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=(n, D))) for _ in range(count)]


def windowed(**settings):
    return CodingRate(RateConfig(window=settings)).double()


def nats_of(moment, eps2=0.05):
    return 0.5 * float(np.linalg.slogdet(np.eye(D) + D / eps2 * moment)[1])


def unit(rows):
    rows = rows.detach().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("size", [6, 512])
def test_a_window_of_rows_is_the_weighted_moment_of_what_it_holds(size):
    rate, past = windowed(rows=size, decay=0.8), []
    for rows in batches(5):
        found = rate(rows)
        kept = [(row, 0.8**age) for age, batch in enumerate(past, start=1) for row in batch][:size]
        weighted = [(row, 1.0) for row in unit(rows)] + kept
        total = sum(weight for _, weight in weighted)
        moment = sum(weight * np.outer(row, row) for row, weight in weighted) / total
        assert float(found.health["rate_nats"]) == pytest.approx(nats_of(moment), rel=1e-9)
        assert float(found.health["window_share"]) == pytest.approx(4 / total)
        past.insert(0, unit(rows))


def test_a_window_of_moments_is_a_mean_over_batches_that_forgets():
    rate, moments = windowed(form="covariance", decay=0.8), []
    for rows in batches(5):
        found = rate(rows)
        moments.insert(0, unit(rows).T @ unit(rows) / 4)
        weights = 0.8 ** np.arange(len(moments))
        moment = sum(w * one for w, one in zip(weights, moments, strict=True)) / weights.sum()
        assert float(found.health["rate_nats"]) == pytest.approx(nats_of(moment), rel=1e-9)


@pytest.mark.parametrize("form", ["rows", "covariance"])
def test_small_batches_have_more_directions_with_a_past(form):
    """4 rows have 4 directions of 12, and a rate that cannot tell whether the next batch has others."""
    alone, rate = CodingRate(RateConfig()).double(), windowed(form=form, decay=0.9)
    for rows in batches(30):
        found, without = rate(rows), alone(rows)
    assert float(found.health["rate_nats"]) > 1.3 * float(without.health["rate_nats"])


@pytest.mark.parametrize("form", ["rows", "covariance"])
def test_gradient_reaches_the_batch_alone_and_is_compensated(form):
    for compensate in (True, False):
        rate = windowed(form=form, decay=0.9, compensate=compensate)
        for rows in batches(3):
            rate(rows)
        rows = batches(1, seed=9)[0].requires_grad_()
        before = {name: value.clone() for name, value in rate.named_buffers()}
        found = rate(rows)
        found.value.backward()
        share = float(found.health["window_share"])
        # the numeric derivative of the value, from the same past each time
        step, numeric = 1e-6, []
        for sign in (1, -1):
            moved = rows.detach().clone()
            moved[1, 2] += sign * step
            rate.load_state_dict(before)
            numeric.append(float(rate(moved).value))
        slope = (numeric[0] - numeric[1]) / (2 * step)
        assert float(rows.grad[1, 2]) == pytest.approx(slope / (share if compensate else 1), rel=1e-5)
        assert 0 < share < 0.5


def test_only_training_fills_the_window():
    rate = windowed(rows=8)
    one, two = batches(2)
    rate(one)
    rate.eval()
    kept = rate.moments.kept.clone()
    rate(two)
    assert torch.equal(kept, rate.moments.kept)
    rate.train()
    rate(two)
    assert not torch.equal(kept, rate.moments.kept)


WINDOWS = ["{rows: 96, decay: 0.8}", "{form: covariance, decay: 0.8}"]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_resumed_run_with_a_window_is_bit_identical(window, tmp_path):
    words = ["objective.weights.rate=0.1", f"objective.rate.window={window}", "data.sizes=[128,32,32]"]
    settings = {"schedule.horizon_epochs": 3, "schedule.warmup_epochs": 0.0}
    run = config(*words, **settings, epochs=3)
    train(run, tmp_path / "whole")
    train(config(*words, **settings, epochs=1), tmp_path / "parts")
    train(run, tmp_path / "parts")
    ends = []
    for folder in ("whole", "parts"):
        (path,) = (tmp_path / folder).glob("*/records.jsonl")
        ends.append([line["metrics"] for line in read(path) if line["event"] in ("epoch", "eval")][-2:])
    assert ends[0] == ends[1] and "window_share/agg" in ends[0][0]
    assert arm_id(run) != arm_id(config(*words[:1], *words[2:], **settings, epochs=3))


def test_a_window_changes_what_is_learnt(digits):
    moved = []
    for words in ([], ["objective.rate.window={rows: 512}"]):
        run = config("objective.weights.rate=1.0", *words)
        model, source = method(run), views(run, digits)
        optimiser = make_optimiser(run, model)
        for step in (0, 1):
            optimise(run, step, model, model, optimiser, source.next())
        moved.append(model.encoder.body[0].weight.detach().clone())
    assert not torch.equal(*moved)


@pytest.mark.parametrize(
    "words, said",
    [
        (["form=ln", "window={}"], "window = .* only with rate.form=unit and center=false"),
        (["center=true", "window={}"], "window = .* only with rate.form=unit and center=false"),
        (["on=both", "window={}"], "one window keeps the past of one feature"),
        (["window={form: covariance, rows: 8}"], "rows = 8 has a meaning only with window.form=rows"),
    ],
)
def test_what_a_window_cannot_do_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        config(*(f"objective.rate.{word}" for word in words))
    with pytest.raises(UsageError, match="both directions would share one past"):
        config("objective.symmetric=true", "objective.rate.window={}")


# --- the variational bound


def test_the_diagonal_bound_is_never_below_the_rate_and_hardly_sees_rank():
    torch.manual_seed(0)
    low, full = torch.randn(256, 8).double() @ torch.randn(8, 64).double(), torch.randn(256, 64).double()
    rates = {}
    for name, rows in (("low", low), ("full", full)):
        exact, bound = (
            float(CodingRate(RateConfig(form=form))(rows).health["rate_nats"]) for form in ("unit", "diagonal")
        )
        assert bound >= exact
        rates[name] = exact, bound
    assert rates["low"][0] < 0.3 * rates["full"][0]
    assert rates["low"][1] > 0.95 * rates["full"][1]


def test_the_diagonal_rate_saturates_while_rank_collapses():
    """Raised from nearly collapsed features the bound reaches its maximum and the rank stays below 3 of 64; the exact
    rate from the same start spreads them."""
    torch.manual_seed(0)
    sign = torch.randint(0, 2, (128, 1)).double() * 2 - 1
    start = sign * torch.rand(1, 64).double().add(0.2) + 0.05 * torch.randn(128, 64).double()
    ranks, used = {}, {}
    for form in ("unit", "diagonal"):
        rows, rate = start.clone().requires_grad_(), CodingRate(RateConfig(form=form))
        optimiser = torch.optim.Adam([rows], lr=0.02)
        for _ in range(300):
            optimiser.zero_grad()
            rate(rows).value.backward()
            optimiser.step()
        ranks[form] = effective_ranks(rows.detach())["rank_pr"]
        most = 0.5 * 64 * np.log1p(1 / 0.05)
        used[form] = float(rate(rows).health["rate_nats"]) / most
    assert used["diagonal"] > 0.997 and ranks["diagonal"] < 3, (used, ranks)
    assert used["unit"] > 0.99 and ranks["unit"] > 50, (used, ranks)
