"""ToST's parts against the authors' own code: values, gradients, half precision, and what its attention cannot see."""

import pytest
import torch
from oracles import Case, compare
from torch import nn

from trainer.blocks.readout import ClassAttention, ClassBlock, MemberPool
from trainer.blocks.tost_block import TostBlock
from trainer.blocks.tssa import TSSA

ATTENTION = {
    "temp": "temperature", "qkv.weight": "qkv.weight", "qkv.bias": "qkv.bias", "to_out.0.weight": "out.weight",
    "to_out.0.bias": "out.bias", "proj.weight": "out.weight", "proj.bias": "out.bias", "c_attn.weight": "qkv.weight",
    "c_attn.bias": "qkv.bias", "c_proj.weight": "out.weight", "c_proj.bias": "out.bias",
    "denom_bias": "position_bias",
}  # fmt: skip
BLOCK = {
    "gamma1": "scale1", "gamma2": "scale2", "ln_1": "norm1", "ln_2": "norm2", "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


def named(weights, prefix=""):
    """Our name of each of the reference's weights."""
    names = {}
    for theirs in weights:
        if theirs.startswith("attn."):
            names[theirs] = f"{prefix}attention.{ATTENTION[theirs.removeprefix('attn.')]}"
        else:
            part, _, kind = theirs.rpartition(".")
            head = BLOCK.get(part or theirs, part or theirs)
            names[theirs] = f"{prefix}{head}.{kind}" if part else f"{prefix}{head}"
    return names


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["tssa", "tssa_bias", "tssa_temp1", "tssa_one_token"])
def test_tssa(name):
    case = Case("tost", name)
    cfg = case.settings
    module = TSSA(cfg["dim"], cfg["heads"], cfg["qkv_bias"])
    compare(case, module, {theirs: ATTENTION[theirs] for theirs in case.weights})


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["tssa", "tssa_init_temp_bias"])
def test_causal_tssa(name):
    case = Case("tost_causal", name)
    cfg = case.settings
    module = TSSA(cfg["dim"], cfg["heads"], cfg["bias"], True, cfg["block_size"], out_bias=cfg["bias"])
    compare(case, module, {theirs: ATTENTION[theirs] for theirs in case.weights})
    case.equals(stepped(module, case.x), case.y, "one token at a time")


def stepped(module, x):
    """All outputs, one token at a time."""
    state, out = module.begin(x[:, 0]), []
    for position, token in enumerate(x.unbind(1)):
        state, y = module.step(state, token, position)
        out.append(y)
    return torch.stack(out, 1)


@pytest.mark.oracle
def test_blocks():
    case = Case("tost", "block")
    compare(case, TostBlock(12, 3, 24, bias=True), named(case.weights))
    case = Case("tost_causal", "block")
    compare(case, TostBlock(12, 3, 48, bias=True, causal=True, positions=6, eps=1e-5), named(case.weights))


@pytest.mark.oracle
def test_class_attention():
    case = Case("tost", "class_attention")
    module = ClassAttention(12, 3)
    names = {theirs: ATTENTION[theirs] for theirs in case.weights}
    compare(case, module, names, lambda x: torch.cat([module(x), x[:, 1:]], 1))


@pytest.mark.oracle
def test_class_block():
    case = Case("tost", "class_block_tokens_norm")
    module = ClassBlock(12, 3, 24)
    compare(case, module, named(case.weights))
    case.equals(module.first(case.x), case.y[:, 0], "first token alone")


@pytest.mark.oracle
def test_the_whole_read_out():
    case = Case("tost", "readout_1tssa_2class")
    parts = nn.ModuleDict(
        {
            "blocks": nn.ModuleList([TostBlock(12, 3, 24, bias=True)]),
            "cls_attn_blocks": nn.ModuleList([ClassBlock(12, 3, 24) for _ in range(2)]),
            "norm": nn.LayerNorm(12, 1e-6),
        }
    )
    parts.register_parameter("cls_token", nn.Parameter(torch.zeros(1, 1, 12)))
    names = {}
    for theirs in case.weights:  # blocks.0.attn.temp, norm.weight, cls_token
        part, _, rest = theirs.partition(".0.") if ".0." in theirs else theirs.partition(".1.")
        prefix = theirs.removesuffix(rest)
        names[theirs] = named([rest], prefix)[rest] if rest else theirs

    def run(x):
        for block in parts["blocks"]:
            x = block(x)
        x = torch.cat([parts.cls_token.expand(len(x), -1, -1), x], 1)
        for block in parts["cls_attn_blocks"]:
            x = block(x)
        return parts["norm"](x)[:, 0]

    compare(case, parts, names, run)


def test_without_learned_positions_the_causal_form_takes_any_length():
    torch.manual_seed(0)
    module = TSSA(12, 3, causal=True).double()
    x = torch.randn(2, 40, 12, dtype=torch.float64)
    whole = module(x)
    torch.testing.assert_close(stepped(module, x), whole, rtol=1e-10, atol=1e-12)
    later = x.clone()
    later[:, 20:] += 1.0
    torch.testing.assert_close(module(later)[:, :20], whole[:, :20])
    assert not torch.allclose(module(later)[:, 20:], whole[:, 20:])
    with pytest.raises(ValueError, match="at most 6 have a learned position"):
        TSSA(12, 3, causal=True, positions=6)(x.float())
    with pytest.raises(ValueError, match="only with causal=True"):
        TSSA(12, 3, positions=6)


def test_a_token_sees_the_others_squared_and_a_token_of_zeros_nothing():
    """Why a read-out with first moments must follow: flipping all other tokens changes no bit, and zeros stay zeros."""
    torch.manual_seed(0)
    module = TSSA(12, 3, out_bias=False).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    flipped = torch.cat([x[:, :1], -x[:, 1:]], 1)
    assert torch.equal(module(x)[:, 0], module(flipped)[:, 0])
    empty = torch.cat([torch.zeros_like(x[:, :1]), x], 1)
    assert module(empty)[:, 0].abs().max() == 0
    pool = MemberPool(12, 3).double()
    assert not torch.allclose(pool(x), pool(flipped))


def test_pooling_by_membership_one_token_at_a_time():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    pool = MemberPool(12, 3, causal=True).double()
    state = pool.begin(x[:, 0])
    for n, token in enumerate(x.unbind(1), start=1):
        state, mean = pool.step(state, token)
        torch.testing.assert_close(mean, pool(x[:, :n]), rtol=1e-10, atol=1e-12)
    weights = pool.parts.members(*(2 * [pool.parts.project(x[:, :1]).square()]))
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 1, dtype=torch.float64))


@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_stays_within_bounds(causal):
    """Projections in bf16, statistics in fp32: an entry is off by at most 2 % of the largest."""
    torch.manual_seed(2)
    block, x = TostBlock(64, 4, 128, causal=causal), torch.randn(8, 9, 64)
    full = block(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x)
        assert block.attention.project(x).dtype == torch.float32
        read = ClassBlock(64, 4, 128)(x)
    assert half.isfinite().all() and read.isfinite().all()
    assert float((half.detach() - full).abs().max() / full.abs().max()) < 0.02
