"""With one level H-JEPA is I-JEPA: values and gradients of its reference code, in double precision, and its masks'
statistics."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import Case, copy, levels_apart, same_gradients, within_errors

from trainer.blocks.positions import grid_places, rotary, sincos
from trainer.blocks.stack import Stack
from trainer.blocks.vit import ViT
from trainer.config import EncoderConfig
from trainer.config.paired import CJepaConfig, NTXentConfig
from trainer.config.vit import VitConfig
from trainer.data import photometric, recipes
from trainer.data.philox import Purpose, uniforms
from trainer.families.h_jepa.config import FpnConfig, MaskConfig, PredictorConfig, block_size
from trainer.families.h_jepa.distance import chance, distances
from trainer.families.h_jepa.levels import Pyramid
from trainer.families.h_jepa.masks import draw_masks
from trainer.families.h_jepa.predictor import Predictor
from trainer.losses.nt_xent import NTXent
from trainer.losses.vicreg_pairs import VicRegPairs


def ours(theirs):
    """Our parameters' names by I-JEPA's; the key's bias has none here, as it changes no attention."""
    renamed = theirs.replace("predictor_", "").replace("blocks.", "stack.blocks.").replace("patch_embed.proj", "embed")
    if renamed.startswith("norm."):
        renamed = f"stack.{renamed}"
    if renamed.startswith("proj."):
        renamed = renamed.replace("proj.", "project.")
    if renamed.endswith("qkv.bias"):
        return renamed.replace("qkv.bias", "q_bias"), None, renamed.replace("qkv.bias", "v_bias")
    return ("query" if renamed == "mask_token" else renamed,)


def load(module, case):
    """Give a module the reference's weights; returns our names by theirs."""
    names = {theirs: ours(theirs) for theirs in case.weights if "pos_embed" not in theirs}
    copy(module.double(), case.weights, names)
    return names


def vit(cfg, heads=2):
    settings = {"patch": cfg["patch"], "depth": cfg["depth"], "heads": heads}
    return ViT(EncoderConfig(name="vit", width=cfg["embed_dim"], vit=settings), 3)


@pytest.mark.oracle
def test_the_encoder_of_kept_patches():
    case = Case("ijepa_model", "encoder")
    encoder = vit(case.settings)
    names = load(encoder, case)
    images = case.inputs["img"].clone().requires_grad_()
    found = {"full": encoder.tokens(images), "masked": encoder.tokens(images, case.inputs["mask_enc0"])}
    for name, tokens in found.items():
        case.equals(tokens, case.outputs[name])
    sum((tokens * case.cotangents[name]).sum() for name, tokens in found.items()).backward()
    case.equals(images.grad, case.gradients["img"], "gradients")
    same_gradients(case, encoder, names)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["predictor", "predictor_2enc_masks"])
def test_the_predictor(name):
    case = Case("ijepa_model", name)
    cfg = case.settings
    settings = PredictorConfig(width=cfg["pred_dim"], depth=cfg["depth"], heads=cfg["heads"])
    predictor = Predictor(settings, VitConfig(), cfg["embed_dim"], 1, False)
    names = load(predictor, case)
    placing = predictor.stack.placing(grid_places(4), torch.float64)
    blocks = torch.stack([case.inputs["mask_pred0"], case.inputs["mask_pred1"]], 1)
    x = case.inputs["x"].clone().requires_grad_()
    contexts = [case.inputs[each] for each in ("mask_enc0", "mask_enc1") if each in case.inputs]
    # the reference puts target block after block, and in each of them context after context
    y = torch.stack([predictor(one, placing.of(seen), placing.of(blocks), 3)
                     for one, seen in zip(x.chunk(len(contexts)), contexts, strict=True)])  # fmt: skip
    y = y.permute(2, 0, 1, *range(3, y.ndim)).flatten(0, 2)
    case.equals(y, case.y)
    (y * case.cotangents["y"]).sum().backward()
    case.equals(x.grad, case.gradients["x"], "gradients")
    same_gradients(case, predictor, names)


@pytest.mark.oracle
def test_the_loss():
    case = Case("ijepa_model", "loss")
    z = case.inputs["z"].clone().requires_grad_()
    cells = torch.stack([case.inputs["mask_pred0"], case.inputs["mask_pred1"]], 1)
    goals = case.inputs["h"].gather(1, cells.flatten(1)[..., None].expand(-1, -1, 12)).view(2, 2, 3, 12)
    loss = distances(z.view(2, 2, 3, 12).transpose(0, 1), goals, "target", 1.0).mean()
    loss.backward()
    case.equals(loss, case.outputs["loss"])
    case.equals(z.grad, case.gradients["z"], "gradients")
    case = Case("ijepa_model", "sincos")  # theirs is rounded to single precision
    case.equals(sincos(grid_places(4), 12).double(), case.outputs["pos"], tolerance=1e-6)


@pytest.mark.oracle
def test_rotary_angles():
    case = Case("timm_vit", "rope_table")  # theirs is in single precision
    rows, columns = case.settings["grid"]
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).flatten(0, 1)
    turned = rotary(places.double(), case.outputs["sin"].shape[1])
    case.equals(turned, torch.cat([case.outputs["sin"], case.outputs["cos"]], -1), tolerance=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("file, name", [
    ("ijepa_model", "block"), ("timm_vit", "vit_block_layerscale"),
    ("timm_vit", "eva_block_rope_layerscale"), ("timm_vit", "eva_block_rope_layerscale_kept_tokens"),
])  # fmt: skip
def test_a_block(file, name):
    """With rotary places, of all and of kept tokens, behind tokens without a place; with LayerScale; and plain."""
    case = Case(file, name)
    cfg, rotates = case.settings, "rope" in name
    ratio = len(case.weights["mlp.fc1.weight"]) / cfg["dim"]
    scale = 1e-5 if "layerscale" in name else None
    settings = VitConfig(depth=1, heads=cfg["heads"], mlp_ratio=ratio, layer_scale=scale)
    block = Stack(settings, cfg["dim"], 1, cfg["heads"]).double().blocks[0]
    block.attn.num_prefix_tokens = cfg.get("prefix", 0)
    names = {theirs: ours(theirs.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"))
             for theirs in case.weights}  # fmt: skip
    copy(block, case.weights, names)
    table = Case("timm_vit", "rope_table").outputs
    turned = torch.cat([table["sin"], table["cos"]], -1).double() if rotates else None
    if "keep" in case.inputs:
        turned = turned[case.inputs["keep"]][:, None]
    x = case.x.clone().requires_grad_()
    y = block(x, rope=turned)
    case.equals(y, case.y)
    (y * case.cotangents["y"]).sum().backward()
    case.equals(x.grad, case.gradients["x"], "gradients")
    same_gradients(case, block, names)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["even_8_4", "odd_7x5_4x3"])
def test_the_pyramid(name):
    case = Case("fpn", name)
    pyramid = Pyramid(FpnConfig(width=4), 3, [True, True])
    pyramid.network.inner_blocks[1][0] = torch.nn.Conv2d(5, 4, 1)
    names = {theirs: (theirs,) for theirs in case.weights}
    copy(pyramid.double().network, case.weights, names)
    maps = {key: case.inputs[key].clone().requires_grad_() for key in ("p0", "p1")}
    found = dict(zip(maps, pyramid(list(maps.values())), strict=True))
    sum((one * case.cotangents[key]).sum() for key, one in found.items()).backward()
    for key, one in found.items():
        case.equals(one, case.outputs[key])
        case.equals(maps[key].grad, case.gradients[key], "gradients")
    same_gradients(case, pyramid.network, names)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["temp0.5", "temp0.07", "batch2"])
def test_nt_xent(name):
    case = Case("ntxent", name)
    rows = torch.stack([case.inputs["z0"], case.inputs["z1"]]).requires_grad_()
    value = NTXent(NTXentConfig(temperature=case.settings["temperature"]))(rows).value
    value.backward()
    case.equals(value, case.outputs["loss"])
    for found, key in zip(rows.grad, ("z0", "z1"), strict=True):
        case.equals(found, case.gradients[key], "gradients")


def test_vicreg_by_its_formula():
    z = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = float(VicRegPairs(CJepaConfig())(z).value)
    one, other = z.numpy()
    invariance = ((one - other) ** 2).mean()
    spread = np.mean([np.maximum(0, 1 - np.sqrt(v.var(0, ddof=1) + 1e-4)).mean() for v in (one, other)])
    spill = sum((np.cov(v.T) ** 2).sum() - (np.diag(np.cov(v.T)) ** 2).sum() for v in (one, other)) / 4
    assert found == pytest.approx(25 * invariance + 25 * spread + spill, rel=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("name, grid, least", [("g14_img224_p16", 14, 10), ("g8_img32_p4", 8, 4)])
def test_masks_have_the_published_sizes_and_statistics(name, grid, least):
    case = Case("ijepa_masks", name)
    data = {key: value.numpy() for key, value in case.arrays.items()}
    for kind, scale, aspect in (("pred", (0.15, 0.2), (0.75, 1.5)), ("enc", (0.85, 1.0), (1.0, 1.0))):
        sizes = [block_size(u, grid, scale, aspect, grid - 1) for u in data["u"]]
        case.equals(torch.tensor(sizes), data[f"size_of_u_{kind}"], "block sizes", 0)
    config = MaskConfig(min_keep=least, placement="published")
    context, union, shown = [], [], np.zeros(grid * grid)
    for step in range(400):
        masks = draw_masks(config, grid, 1, 1, 7, step)
        context.append(masks.shown.shape[1])
        union.append(len(masks.levels[0].cells.unique()))
        shown[masks.shown[0].numpy()] += 1
    counts = [draw_masks(config, grid, 1, 16, 7, step).shown.shape[1] for step in range(125)]
    means = {
        "context": (context, *data["context_mean_sem"]),
        "target": (union, *data["target_union_mean_sem"]),
        "context of 16": (counts, data["context_count_B16"].mean(), data["context_count_B16"].std() / 125**0.5),
    }
    for what, (found, mean, error) in means.items():
        spread = np.hypot(error, np.std(found) / len(found) ** 0.5)
        within_errors(case.piece, np.mean(found), mean, spread, 5, f"mean size of the {what}")
    probability = data["context_prob_map"].ravel()
    error = np.sqrt(probability * (1 - probability) * (1 / 400 + 1 / 2000))
    within_errors(case.piece, shown / 400, probability, error, 5, "frequency of each patch")


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


@pytest.mark.oracle
@pytest.mark.parametrize("width", [32, 192, 384])
def test_chance(width):
    """Their formula's numbers are in single precision; ours takes the channels of unit vectors as normal."""
    case = Case("chance_smoothl1", "chance")
    found, unit = chance("target", 1.0, width), chance("both_unit", 1.0, width)
    for name, theirs in (("zero", "zero_pred"), ("independent", "indep")):
        case.equals(found[name], case.outputs[f"formula_layernorm_{theirs}_Dinf"], "targets of variance 1", 1e-6)
    assert unit.keys() == {"independent"}
    case.equals(unit["independent"], case.outputs[f"formula_D{width}"], "unit vectors", 1e-3)
    if width == 384:
        case.equals(2.2 * unit["independent"], case.outputs["hjepa_chance_D384"], "unit vectors", 1e-3)


@pytest.mark.oracle
def test_three_augment():
    case = Case("three_augment", "pixel_ops")
    image, on = case.inputs["image"].permute(2, 0, 1)[None].double() / 255, torch.ones(1, dtype=torch.bool)
    for name, found, levels in (
        ("solarize", photometric.solarize(image, 128 / 255, on), 0),
        ("gray", photometric.grayscale(image, on), 1),  # theirs cuts off where ours rounds
    ):
        found = (found[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
        levels_apart(case.piece, found, case.outputs[name], levels, name)
    case = Case("three_augment", "draws")
    drawn = recipes.colours(
        recipes.RECIPES["deit3"], uniforms(0, Purpose.PROBE, 0, torch.arange(3000), recipes.NUMBERS)
    )
    shares = torch.stack([drawn.grey, drawn.solarize, drawn.blur]).double().mean(1)
    theirs = case.arrays["counts_gray_solarize_blur"] / float(case.arrays["n"])
    error = (2 / 9 * (1 / 3000 + 1 / float(case.arrays["n"]))) ** 0.5
    within_errors(case.piece, shares, theirs, [error] * 3, 4, "frequencies")
