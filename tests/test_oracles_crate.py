"""CRATE's and CRATE-alpha's blocks against the authors' own code: values, gradients, half precision."""

import pytest
import torch
from oracles import Case, compare

from trainer.blocks.ista import ISTA, OvercompleteISTA
from trainer.blocks.mssa import MSSA
from trainer.blocks.white_box import crate_alpha_block, crate_block

MSSA_NAMES = {"qkv.weight": "qkv.weight", "to_out.0.weight": "out.weight", "to_out.0.bias": "out.bias"}


def block_names(layers, prefix, alpha=False):
    """Our names of the reference's transformer of some layers."""
    names = {}
    for i in range(layers):
        theirs, ours = f"layers.{i}", f"{prefix.format(i)}"
        for j, norm in ((0, "norm1"), (1, "norm2")):
            names |= {f"{theirs}.{j}.norm.{one}": f"{ours}{norm}.{one}" for one in ("weight", "bias")}
        parts = ("qkv.weight", "to_out.0.weight") if alpha else MSSA_NAMES
        names |= {f"{theirs}.0.fn.{one}": f"{ours}attention.{MSSA_NAMES[one]}" for one in parts}
        coding = {"D": "dictionary", "D1": "readout"} if alpha else {"weight": "weight"}
        names |= {f"{theirs}.1.fn.{one}": f"{ours}coding.{name}" for one, name in coding.items()}
    return names


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["mssa", "mssa_inner_ne_dim", "mssa_one_head_no_out", "mssa_one_token"])
def test_mssa(name):
    case = Case("crate", name)
    cfg, free = case.settings, "to_out.0.weight" in case.weights
    module = MSSA(cfg["dim"], cfg["heads"], cfg["dim_head"], project=free)
    compare(case, module, {theirs: MSSA_NAMES[theirs] for theirs in case.weights})


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["ista", "ista_step0.5_lambda0.3"])
def test_ista(name):
    case = Case("crate", name)
    module = ISTA(case.settings["dim"], case.settings["step_size"], case.settings.get("lambd", 0.1))
    compare(case, module, {"weight": "weight"})
    assert 0.2 < float((module(case.x) == 0).double().mean()) < 0.8  # exact zeros, as from a threshold


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["block", "two_blocks"])
def test_crate_blocks(name):
    case = Case("crate", name)
    cfg = case.settings
    layers = [crate_block(cfg["dim"], cfg["heads"], step=cfg["step_size"]) for _ in range(cfg["depth"])]
    stack = torch.nn.ModuleList(layers)
    compare(case, stack, block_names(cfg["depth"], "{}."), lambda x: through(stack, x))
    first = stack[-1](through(stack[:-1], case.x), 1)[0]
    torch.testing.assert_close(first, case.y[:, :1], rtol=1e-10, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["ista_x4", "ista_x2_eta.3_lambda.05"])
def test_overcomplete_ista(name):
    case = Case("crate_alpha", name)
    cfg = case.settings
    module = OvercompleteISTA(cfg["dim"], cfg["ratio"], cfg["eta"], cfg["lmbda"])
    compare(case, module, {"D": "dictionary", "D1": "readout"})


@pytest.mark.oracle
def test_crate_alpha_block():
    case = Case("crate_alpha", "block")
    cfg = case.settings
    block = crate_alpha_block(cfg["dim"], cfg["heads"])
    compare(case, block, block_names(1, "", alpha=True), lambda x: block(x)[0])


def through(blocks, x):
    for block in blocks:
        x, _ = block(x)
    return x


def test_the_papers_form_writes_where_it_reads():
    """Written out with loops: (1 - k) x + k [U_1 .. U_K] stack(softmax(U' z (U' z)') U' z), z = LN x."""
    torch.manual_seed(0)
    block = crate_block(12, 3, form="paper", compression=0.3).double()
    assert block.attention.out is None
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    z, expected = block.norm1(x), torch.zeros_like(x)
    for u in block.attention.subspaces():  # (p, d)
        v = z @ u.T
        expected = expected + torch.softmax(v @ v.transpose(1, 2), dim=2) @ v @ u
    torch.testing.assert_close(block.compress(x), 0.7 * x + 0.3 * expected, rtol=1e-12, atol=1e-12)
    code = crate_block(12, 3).double()
    code.attention.qkv.load_state_dict(block.attention.qkv.state_dict())
    assert not torch.allclose(code(x)[0], block(x)[0])


def test_layer_scale_starts_a_residual_block_near_the_identity():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    plain, scaled = crate_alpha_block(8, 2), crate_alpha_block(8, 2, scale=1e-5)
    assert (scaled(x)[0] - x).abs().max() < 1e-3 < (plain(x)[0] - x).abs().max()
    assert scaled.scale1.requires_grad and plain.scale1 is None


@pytest.mark.parametrize("settings", [{"step": 0.3}, {"threshold": 0.4}], ids=str)
@pytest.mark.parametrize("make", [crate_block, crate_alpha_block])
def test_step_and_threshold_act(make, settings):
    x = torch.randn(2, 5, 8)
    torch.manual_seed(1)
    base = make(8, 2)
    torch.manual_seed(1)
    other = make(8, 2, **settings)
    assert not torch.equal(base(x)[0], other(x)[0])
    if "threshold" in settings:
        zeros = [float((block(x)[1] == 0).float().mean()) for block in (base, other)]
        assert zeros[1] > zeros[0]


@pytest.mark.parametrize("make", [crate_block, crate_alpha_block])
def test_half_precision_stays_within_bounds(make):
    """bf16 keeps 8 bits: an entry is off by at most 2 % of the largest, and no more zeros or NaN appear."""
    torch.manual_seed(2)
    block, x = make(64, 4), torch.randn(8, 9, 64)
    full = block(x)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x)[0]
    assert half.isfinite().all()
    assert float((half.detach() - full).abs().max() / full.abs().max()) < 0.02
