"""With one level H-JEPA is I-JEPA: values and gradients of its reference code, in double precision, and its masks'
statistics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainer.blocks.positions import grid_places, rotary, sincos
from trainer.blocks.stack import Stack
from trainer.blocks.vit import ViT
from trainer.config import EncoderConfig
from trainer.config.paired import CJepaConfig, NTXentConfig
from trainer.config.vit import VitConfig
from trainer.families.h_jepa.config import FpnConfig, MaskConfig, PredictorConfig, block_size
from trainer.families.h_jepa.distance import chance, distances
from trainer.families.h_jepa.levels import Pyramid
from trainer.families.h_jepa.masks import draw_masks
from trainer.families.h_jepa.predictor import Predictor
from trainer.losses.nt_xent import NTXent
from trainer.losses.vicreg_pairs import VicRegPairs

HERE = Path(__file__).resolve().parent / "oracles"


def case(file, name):
    """{group: {name: tensor}} and the settings of a case."""
    with np.load(HERE / f"{file}.npz", allow_pickle=False) as arrays:
        found = {}
        for key in arrays.files:
            if key.startswith(f"{name}/"):
                _, group, rest = key.split("/", 2)
                found.setdefault(group, {})[rest] = torch.from_numpy(arrays[key])
        return found, json.loads(str(arrays["meta"]))["cases"][name]["cfg"]


def ours(theirs):
    """Our parameter's name by I-JEPA's; the key's bias has none here, as it changes no attention."""
    renamed = theirs.replace("predictor_", "").replace("blocks.", "stack.blocks.").replace("patch_embed.proj", "embed")
    if renamed.startswith("norm."):
        return f"stack.{renamed}"
    if renamed.startswith("proj."):
        return renamed.replace("proj.", "project.")
    return "query" if renamed == "mask_token" else renamed


def load(module, weights):
    """Give a module the reference's weights; returns where each one's gradient is found."""
    module.double()
    mine, place = dict(module.named_parameters()), {}
    with torch.no_grad():
        for theirs, value in weights.items():
            name = ours(theirs)
            if name.endswith("attn.qkv.bias"):
                query, _, vector = value.chunk(3)
                mine[name.replace("qkv.bias", "q_bias")].copy_(query)
                mine[name.replace("qkv.bias", "v_bias")].copy_(vector)
                place[theirs] = (name.replace("qkv.bias", "q_bias"), name.replace("qkv.bias", "v_bias"))
            elif "pos_embed" not in theirs:
                mine[name].copy_(value.view(mine[name].shape))
                place[theirs] = (name,)
    return mine, place


def agree(mine, place, gradients):
    for theirs, names in place.items():
        found, wanted = [mine[name].grad for name in names], gradients[theirs]
        if len(names) == 2:
            query, key, vector = wanted.chunk(3)
            assert float(key.abs().max()) < 1e-12
            found, wanted = [torch.cat(found)], torch.cat([query, vector])
        torch.testing.assert_close(found[0].view(wanted.shape), wanted, rtol=1e-10, atol=1e-12, msg=theirs)


def vit(cfg, heads=2):
    settings = {"patch": cfg["patch"], "depth": cfg["depth"], "heads": heads}
    return ViT(EncoderConfig(name="vit", width=cfg["embed_dim"], vit=settings), 3)


def test_the_encoder_of_kept_patches():
    data, cfg = case("ijepa_model", "encoder")
    encoder = vit(cfg)
    mine, place = load(encoder, data["w"])
    images = data["in"]["img"].clone().requires_grad_()
    full, masked = encoder.tokens(images), encoder.tokens(images, data["in"]["mask_enc0"])
    for name, found in (("full", full), ("masked", masked)):
        torch.testing.assert_close(found, data["out"][name], rtol=1e-10, atol=1e-12)
    ((full * data["ct"]["full"]).sum() + (masked * data["ct"]["masked"]).sum()).backward()
    torch.testing.assert_close(images.grad, data["gin"]["img"], rtol=1e-10, atol=1e-12)
    agree(mine, place, data["gw"])


def test_the_predictor():
    data, cfg = case("ijepa_model", "predictor")
    settings = PredictorConfig(width=cfg["pred_dim"], depth=cfg["depth"], heads=cfg["heads"])
    predictor = Predictor(settings, VitConfig(), cfg["embed_dim"], 1, False)
    mine, place = load(predictor, data["w"])
    placing = predictor.stack.placing(grid_places(4), torch.float64)
    blocks = torch.stack([data["in"]["mask_pred0"], data["in"]["mask_pred1"]], 1)
    x = data["in"]["x"].clone().requires_grad_()
    y = predictor(x, placing.of(data["in"]["mask_enc0"]), placing.of(blocks), 3)
    y = y.transpose(0, 1).flatten(0, 1)  # the reference puts block after block
    torch.testing.assert_close(y, data["out"]["y"], rtol=1e-10, atol=1e-12)
    (y * data["ct"]["y"]).sum().backward()
    torch.testing.assert_close(x.grad, data["gin"]["x"], rtol=1e-10, atol=1e-12)
    agree(mine, place, data["gw"])


def test_the_loss():
    data, _ = case("ijepa_model", "loss")
    z = data["in"]["z"].clone().requires_grad_()
    cells = torch.stack([data["in"]["mask_pred0"], data["in"]["mask_pred1"]], 1)
    goals = data["in"]["h"].gather(1, cells.flatten(1)[..., None].expand(-1, -1, 12)).view(2, 2, 3, 12)
    loss = distances(z.view(2, 2, 3, 12).transpose(0, 1), goals, "target", 1.0).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), data["out"]["loss"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(z.grad, data["gin"]["z"], rtol=1e-10, atol=1e-12)
    pos = case("ijepa_model", "sincos")[0]["out"]["pos"]
    torch.testing.assert_close(sincos(grid_places(4), 12).double(), pos, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kept", [False, True])
def test_a_block_with_rotary_places_and_layer_scale(kept):
    data, cfg = case("timm_vit", "eva_block_rope_layerscale" + "_kept_tokens" * kept)
    rows, columns = cfg["grid"]
    line = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).flatten(0, 1)
    turned = rotary(line.double(), cfg["dim"] // cfg["heads"])
    table = case("timm_vit", "rope_table")[0]["out"]
    torch.testing.assert_close(turned, torch.cat([table["sin"], table["cos"]], -1), rtol=0, atol=1e-6)
    settings = VitConfig(depth=1, heads=2, mlp_ratio=2.0, layer_scale=1e-5, positions="rope")
    block = Stack(settings, cfg["dim"], 1, cfg["heads"]).double().blocks[0]
    block.attn.num_prefix_tokens = cfg["prefix"]
    block.norm1.eps = block.norm2.eps = 1e-6
    with torch.no_grad():
        for name, value in data["w"].items():
            dict(block.named_parameters())[name].copy_(value)
    if kept:
        turned = turned[data["in"]["keep"]][:, None]
    y = block(data["in"]["x"], rope=turned)
    torch.testing.assert_close(y, data["out"]["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["even_8_4", "odd_7x5_4x3"])
def test_the_pyramid(name):
    data, cfg = case("fpn", name)
    pyramid = Pyramid(FpnConfig(width=4), 3, [True, True])
    pyramid.network.inner_blocks[1][0] = torch.nn.Conv2d(5, 4, 1)
    pyramid.double().network.load_state_dict(data["w"])
    maps = [data["in"][key].clone().requires_grad_() for key in ("p0", "p1")]
    found = pyramid(maps)
    sum((one * data["ct"][f"p{level}"]).sum() for level, one in enumerate(found)).backward()
    for level, one in enumerate(found):
        torch.testing.assert_close(one, data["out"][f"p{level}"], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(maps[level].grad, data["gin"][f"p{level}"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["temp0.5", "temp0.07", "batch2"])
def test_nt_xent(name):
    data, cfg = case("ntxent", name)
    rows = torch.stack([data["in"]["z0"], data["in"]["z1"]]).requires_grad_()
    value = NTXent(NTXentConfig(temperature=cfg["temperature"]))(rows).value
    value.backward()
    torch.testing.assert_close(value.detach(), data["out"]["loss"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(rows.grad[0], data["gin"]["z0"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(rows.grad[1], data["gin"]["z1"], rtol=1e-10, atol=1e-12)


def test_vicreg_by_its_formula():
    z = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = float(VicRegPairs(CJepaConfig())(z).value)
    one, other = z.numpy()
    invariance = ((one - other) ** 2).mean()
    spread = np.mean([np.maximum(0, 1 - np.sqrt(v.var(0, ddof=1) + 1e-4)).mean() for v in (one, other)])
    spill = sum((np.cov(v.T) ** 2).sum() - (np.diag(np.cov(v.T)) ** 2).sum() for v in (one, other)) / 4
    assert found == pytest.approx(25 * invariance + 25 * spread + spill, rel=1e-12)


@pytest.mark.parametrize("name, grid, least", [("g14_img224_p16", 14, 10), ("g8_img32_p4", 8, 4)])
def test_masks_have_the_published_sizes_and_statistics(name, grid, least):
    with np.load(HERE / "ijepa_masks.npz") as arrays:
        data = {key.partition("/")[2]: arrays[key] for key in arrays.files if key.startswith(name)}
    for kind, scale, aspect in (("pred", (0.15, 0.2), (0.75, 1.5)), ("enc", (0.85, 1.0), (1.0, 1.0))):
        sizes = [block_size(u, grid, scale, aspect, grid - 1) for u in data["u"]]
        assert np.array_equal(sizes, data[f"size_of_u_{kind}"])
    config = MaskConfig(min_keep=least, placement="published")
    context, union, shown = [], [], np.zeros(grid * grid)
    for step in range(400):
        masks = draw_masks(config, grid, 1, 1, 7, step)
        context.append(masks.shown.shape[1])
        union.append(len(masks.levels[0].cells.unique()))
        shown[masks.shown[0].numpy()] += 1
    for found, (mean, error) in ((context, data["context_mean_sem"]), (union, data["target_union_mean_sem"])):
        assert abs(np.mean(found) - mean) < 5 * np.hypot(error, np.std(found) / 20)
    probability = data["context_prob_map"].ravel()
    error = np.sqrt(probability * (1 - probability) * (1 / 400 + 1 / 2000))
    assert (np.abs(shown / 400 - probability) <= 5 * error + 1e-9).all()
    counts = [draw_masks(config, grid, 1, 16, 7, step).shown.shape[1] for step in range(125)]
    theirs = data["context_count_B16"]
    assert abs(np.mean(counts) - theirs.mean()) < 5 * np.hypot(np.std(counts), theirs.std()) / 125**0.5


def test_masks_everywhere_reach_the_last_row_and_keep_their_promises():
    seen, shown = torch.zeros(8, 8, dtype=torch.bool), torch.zeros(64)
    for step in range(60):
        masks = draw_masks(MaskConfig(), 8, 3, 16, 3, step)
        again = draw_masks(MaskConfig(), 8, 3, 16, 3, step)
        assert torch.equal(masks.shown, again.shown) and torch.equal(masks.levels[2].cells, again.levels[2].cells)
        assert masks.shown.shape[1] > 0 and masks.shown.shape[1] + masks.left_out.shape[1] == 64
        target = torch.zeros(16, 64, dtype=torch.bool).scatter_(1, masks.levels[0].cells.flatten(1), True)
        assert not target.gather(1, masks.shown).any()
        seen |= target.any(0).view(8, 8)
        shown += torch.zeros(16, 64).scatter_(1, masks.shown, 1.0).sum(0)
        hidden = torch.ones(16, 64, dtype=torch.bool).scatter_(1, masks.shown, False)
        coarse = F.avg_pool2d(hidden.double().view(16, 1, 8, 8), 2).flatten(1) >= 0.5
        assert torch.equal(masks.levels[1].hidden, coarse)
    assert seen.all() and float(shown.view(8, 8)[7].sum()) > 0
    other = draw_masks(MaskConfig(), 8, 1, 16, 4, 0)
    assert other.shown.shape != masks.shown.shape or not torch.equal(other.shown, masks.shown)


@pytest.mark.parametrize("width", [32, 384])
def test_chance(width):
    found = chance("target", 1.0, width)
    assert found["zero"] == pytest.approx(0.4247, abs=1e-4) and found["independent"] == pytest.approx(0.7201, abs=1e-4)
    unit = chance("both_unit", 1.0, width)
    assert unit == {"independent": pytest.approx(1 / width, rel=1e-3)}
    assert 2.2 * chance("both_unit", 1.0, 384)["independent"] == pytest.approx(0.005729, abs=1e-6)
