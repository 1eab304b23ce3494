"""White-box layers as the suite measures them: against loops, on codes whose answer is known, and beside a run that
does not notice."""

import numpy as np
import pytest
import torch
from small import config, method, views

from analysis.figures import subspace_plots
from trainer import presets
from trainer.blocks.opened import watched, white_box_blocks
from trainer.blocks.white_box import crate_alpha_block, crate_block
from trainer.config.losses import RateConfig
from trainer.data.images import load_images
from trainer.errors import UsageError
from trainer.families import seq_jepa
from trainer.families.seq_jepa.evaluation_tables import tables
from trainer.families.seq_jepa.probing.diagnostics import Diagnostics
from trainer.losses.coding_rate import CodingRate
from trainer.subspace.layers import Layer, specialised
from trainer.subspace.rates import EPS2, rate, rates_used, unit, variational_rate
from trainer.subspace.summary import save_arrays

RNG = np.random.default_rng(0)
SWEPT = "eval.subspace={anchors: 8, steps: 8}"
CRATE = ["model.aggregator=crate", "model.predictor=crate", "model.predictor_hidden=null"]
PATCHES = "model.encoder={name: crate, width: 16, crate: {depth: 2, heads: 2}}"


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_both_rates_are_those_that_can_be_trained(shape):
    rows = RNG.normal(size=shape) @ RNG.normal(size=(shape[1], shape[1]))
    for form, ours in (("unit", rate), ("diagonal", variational_rate)):
        trained = CodingRate(RateConfig(form=form))(torch.from_numpy(rows)).health["rate_nats"]
        assert float(ours(unit(rows))) == pytest.approx(float(trained), rel=1e-10)


def test_the_variational_rate_saturates_where_the_rate_says_collapse():
    collapsed = np.sign(RNG.normal(size=(200, 1))) * np.ones((1, 32)) + 1e-3 * RNG.normal(size=(200, 32))
    exact, variational = rates_used(collapsed)
    assert exact < 0.15 and variational > 0.999
    spread = rates_used(np.concatenate([np.eye(32), -np.eye(32)]))
    assert spread == pytest.approx((1, 1))
    assert rates_used(np.zeros((8, 4))) == (0, 0)


def test_a_layers_rates_are_those_of_loops_over_sequences_and_heads():
    read, moved = RNG.normal(size=(2, 3, 5, 8))
    directions = RNG.normal(size=(2, 3, 8))
    layer = Layer()
    layer.add(read[:2], moved[:2], directions, np.ones((2, 5, 4)))
    layer.add(read[2:], moved[2:], directions, np.ones((1, 5, 4)))
    expected = np.zeros(4)
    for number, tokens in enumerate((read, moved)):
        for one in tokens:
            z = one / np.linalg.norm(one, axis=1, keepdims=True)
            expected[2 * number] += np.linalg.slogdet(np.eye(8) + 8 / (5 * EPS2) * z.T @ z)[1] / 2 / 3
            for w in directions:
                u = np.linalg.qr(w.T)[0]
                inside = np.linalg.slogdet(np.eye(3) + 3 / (5 * EPS2) * u.T @ z.T @ z @ u)[1] / 2
                expected[2 * number + 1] += inside / 3
    assert layer.rates() == pytest.approx(expected)
    z = read[1, 4] / np.linalg.norm(read[1, 4])
    u = np.linalg.qr(directions[1].T)[0]
    assert layer.energies().shape == (3, 5, 2) and layer.energies()[1, 4, 1] == pytest.approx(((u.T @ z) ** 2).sum())


def test_sparsity_counts_entries_zeros_dead_atoms_and_how_evenly_atoms_are_used():
    code = np.zeros((2, 3, 8))
    code[..., 0], code[0, :, 1], code[0, 0, 2] = 1.0, 0.5, 1e-9  # the last is neither zero nor present
    layer = Layer()
    layer.add(np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((1, 1, 4)), code)
    present, zeros, dead, entropy = layer.sparsity()
    assert (present, zeros, dead) == pytest.approx((9 / 48, 38 / 48, 6 / 8))
    share = np.array([6, 3]) / 9
    assert entropy == pytest.approx(-(share * np.log(share)).sum() / np.log(8))
    assert layer.use() == pytest.approx([1, 0.5, 0, 0, 0, 0, 0, 0])
    for codes, expected in ((np.ones((2, 3, 8)), 1.0), (np.zeros((2, 3, 8)), 0.0)):
        even = Layer()
        even.add(np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((1, 1, 4)), codes)
        assert even.sparsity()[3] == pytest.approx(expected)


def test_a_head_that_knows_an_action_or_a_class_is_found_and_noise_is_not():
    n, count = 200, 2
    actions, labels = RNG.normal(size=(n, count, 3)), RNG.integers(0, 5, n)
    energies = RNG.normal(size=(n, count, 4))
    energies[..., 0] = np.square(actions[..., 1]) - actions[..., 1]
    energies[..., 1] = labels[:, None] + 0.5 * RNG.normal(size=(n, count))
    found, told = specialised(energies, actions), specialised(energies, labels)
    assert found.r2.shape == (4, 3) and found.r2[0, 1] == pytest.approx(1) and told.r2[1, 0] > 0.7
    others = np.delete(found.r2.ravel(), 1)
    assert others.max() < 0.05 and told.r2[[0, 2, 3], 0].max() < 0.05
    best, chance, z = found.best()
    assert best[1] > chance[1] and z[1] > 20 and 0 < chance.max() < 0.06
    # one-way analysis of variance, by its own formula
    means = np.array([energies[labels == c, :, 1].mean() for c in range(5)])
    counts = np.array([count * (labels == c).sum() for c in range(5)])
    whole = energies[..., 1]
    assert told.r2[1, 0] == pytest.approx((counts * (means - whole.mean()) ** 2).sum() / whole.var() / whole.size)


def test_the_null_moves_whole_sequences():
    """Tokens that repeat within a sequence count once: with as many independent ones chance would be half of it."""
    actions = np.repeat(RNG.normal(size=(40, 1, 1)), 8, 1)
    energies = np.repeat(RNG.normal(size=(40, 1, 1)), 8, 1)
    assert specialised(energies, actions).null.mean() == pytest.approx(2 / 39, rel=0.35)
    assert specialised(np.ones((40, 8, 2)), actions).r2.max() == 0


@pytest.mark.parametrize("make", [crate_block, crate_alpha_block])
def test_an_opened_layer_is_what_its_forward_pass_does(make):
    torch.manual_seed(0)
    block, x = make(12, 3), torch.randn(4, 5, 12)
    seen = []
    with torch.no_grad(), watched(torch.nn.Sequential(block), lambda number, layer: seen.append((number, layer))):
        out, code = block(x, 2)
        ((number, opened),) = seen
        assert number == 0 and torch.allclose(opened.code, code, atol=1e-6) and opened.directions.shape == (3, 4, 12)
        assert torch.allclose(opened.read, block.norm1(x)) and torch.allclose(
            opened.moved, block.norm1(block.compress(x))
        )
    block(x)
    assert len(seen) == 1 and not block._forward_pre_hooks


def measured(*words):
    run = config(SWEPT, "data.sizes=[200,80,60]", "optim.batch_size=50", *words)
    images = load_images(run).to(torch.device("cpu"), 100)
    source = views(run, images)
    model = method(run, source.action_dim)
    diagnostics = Diagnostics(run, images, source, model, "validation")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    draws = torch.random.get_rng_state()
    made = diagnostics.measure(model)
    assert torch.equal(torch.random.get_rng_state(), draws) and model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return diagnostics, made, model


def test_every_part_of_white_box_layers_is_measured():
    diagnostics, made, model = measured(*CRATE, PATCHES)
    parts = ["encoder", "aggregator@3", "predictor@3"]
    assert made.arrays["white_box"].tolist() == [*parts, *(f"untrained_{part}" for part in parts)]
    assert made.arrays["white_box_targets"].tolist() == ["rotation1", "rotation2", "class"]
    assert "white-box layers: measured" in diagnostics.about_to()
    for part, count in (("encoder", 2), ("aggregator@3", 2), ("predictor@3", 1)):
        assert made.arrays[f"layer_rates/{part}"].shape == (4, count)
        assert made.arrays[f"head_r2/{part}"].shape == (count, 2 if part == "encoder" else 4, 3)
        found = {name.partition(".")[0] for name in made.metrics if name.endswith(f".layer1/{part}")}
        assert {"rate", "rate_within", "rate_within_after", "code_l0", "code_zeros", "dead_atoms"} <= found
        for name in ("code_l0", "code_zeros", "dead_atoms", "atom_entropy", "head_r2"):
            values = [value for key, value in made.metrics.items() if key.startswith(f"{name}.") and part in key]
            assert values and all(0 <= value <= 1 for value in values)
    # the aggregator's tokens hold the actions, the predictor's first one the image alone
    assert (
        made.metrics["head_r2.layer1.rotation1/aggregator@3"]
        > 5 * made.metrics["head_r2_null.layer1.rotation1/aggregator@3"]
    )
    assert sum(len(white_box_blocks(part)) for part in (model.encoder, model.aggregator, model.predictor)) == 5
    assert {"layers", "heads", "circle"} <= subspace_plots.figures_of(made.arrays).keys()
    layers, heads = tables(made.metrics, 3)[-2:]
    assert layers.row_count == heads.row_count == 10
    assert list(layers.columns[0].cells)[2::5] == ["aggregator@3 1", "untr. aggregator@3 1"]
    assert list(heads.columns[1].cells)[2] == f"{made.metrics['head_r2.layer1.rotation1/aggregator@3']:.2f}"
    assert "chance" in list(heads.columns[3].cells)


def test_a_model_without_white_box_layers_is_not_measured_and_nothing_else_changes():
    diagnostics, made, _ = measured()
    assert "white-box layers: not measured, the model has none" in diagnostics.about_to()
    assert not [name for name in (*made.metrics, *made.arrays) if "layer" in name or "white_box" in name]
    assert not tables(made.metrics, 3)
    assert 0 < made.metrics["rate_used.exact/rotation"] < made.metrics["rate_used.variational/rotation"] <= 1


def test_data_without_sweeps_have_their_layers_measured(tmp_path):
    words = ["data.generated=true", "data.sizes=[40,24,8]", "optim.batch_size=8", SWEPT[:-1] + ", epochs: [1]}"]
    small = ["model.encoder={name: conv, width: 4}", "model.action_dim=16", "model.layers=1"]
    run = presets.load("step3_crate_cifar100", [*words, *small, "precision=fp32"])
    images = load_images(run).to(torch.device("cpu"), 1000)
    source = seq_jepa.source(run, images, torch.float32)
    made = Diagnostics(run, images, source, method_of(run, source), "validation").measure(method_of(run, source))
    assert made.arrays["white_box_targets"].tolist() == [
        *(f"crop{i}" for i in range(1, 5)),
        *(f"jitter{i}" for i in range(1, 5)),
        "blur",
        "class",
    ]
    save_arrays(tmp_path / "e.npz", made.arrays)
    assert [path.stem for path in subspace_plots.render(tmp_path / "e.npz", tmp_path / "figures")] == [
        "layers",
        "heads",
    ]
    seq_jepa.check_evaluation(run, [1], subspace=True)
    plain = presets.load("step2_exp_b_teacherless_cifar100", [*words[:3], *small])
    with pytest.raises(UsageError, match="no factor that could be swept alone, and the model no white-box layers"):
        seq_jepa.check_evaluation(plain, [1], subspace=True)
    with pytest.raises(UsageError, match="not augment of cifar100, and the model has no white-box layers"):
        presets.load("step2_exp_b_teacherless_cifar100", [*words, *small])


def method_of(run, source):
    torch.manual_seed(0)
    return seq_jepa.make(run, source)
