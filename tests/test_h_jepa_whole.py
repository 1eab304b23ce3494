"""A run with one level is I-JEPA as a whole: its loss and the gradient of every weight, in double precision."""

import plain_ijepa
import torch
from oracles import Case, copy
from test_h_jepa import COLOUR, built
from test_h_jepa_oracles import ours

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def test_the_plain_model_is_the_reference():
    """What the whole is compared with below."""
    case = Case("ijepa_model", "encoder")
    for name, keep in (("full", None), ("masked", case.inputs["mask_enc0"])):
        found = plain_ijepa.encoder(case.weights, case.inputs["img"], keep, case.settings["heads"])
        torch.testing.assert_close(found, case.outputs[name], **CLOSE)
    case = Case("ijepa_model", "predictor")
    blocks = [case.inputs["mask_pred0"], case.inputs["mask_pred1"]]
    found = plain_ijepa.predictor(case.weights, case.x, case.inputs["mask_enc0"], blocks, case.settings["heads"])
    torch.testing.assert_close(found, case.y, **CLOSE)
    case = Case("ijepa_model", "loss")
    blocks = [case.inputs["mask_pred0"], case.inputs["mask_pred1"]]
    found = plain_ijepa.loss(case.inputs["z"], case.inputs["h"], blocks)
    torch.testing.assert_close(found, case.outputs["loss"], **CLOSE)


def test_a_run_with_one_level_is_i_jepa_as_a_whole():
    """With weights of the reference and a target of its own."""
    words = ["data.canvas=8", "model.encoder.width=12", "model.encoder.vit.depth=1", "model.masks.min_keep=2"]
    _, source, method = built(*COLOUR, *words, "precision=fp64")
    encoding, predicting = Case("ijepa_model", "encoder"), Case("ijepa_model", "predictor")
    heads = encoding.settings["heads"]
    followed = {name: 1.1 * value for name, value in encoding.weights.items() if name != "pos_embed"}
    trained = [(method.encoder, encoding.weights), (method.predictor, predicting.weights)]
    for module, weights in (*trained, (method.average.encoder, followed)):
        copy(module.double(), weights, named(weights))
    for _ in range(3):
        batch = source.next()
        (view,), (masks,) = batch["views"], batch["masks"]
        method.zero_grad()
        output = method(batch)
        assert list(output.terms) == ["level0"]
        output.terms["level0"].backward()
        blocks = list(masks.levels[0].cells.unbind(1))
        context, guess = ({name: value.clone().requires_grad_() for name, value in w.items()} for _, w in trained)
        h = plain_ijepa.encoder(encoding.weights | followed, view, None, heads)
        x = plain_ijepa.encoder(context, view, masks.shown, heads)
        loss = plain_ijepa.loss(plain_ijepa.predictor(guess, x, masks.shown, blocks, heads), h, blocks)
        loss.backward()
        torch.testing.assert_close(output.terms["level0"].detach(), loss.detach(), rtol=1e-10, atol=1e-12)
        for (module, _), weights in zip(trained, (context, guess), strict=True):
            mine, names = dict(module.named_parameters()), named(weights)
            assert {name for parts in names.values() for name in parts if name} == set(mine)
            for theirs, parts in names.items():
                for name, part in zip(parts, weights[theirs].grad.chunk(len(parts)), strict=True):
                    found = torch.zeros_like(part) if name is None else mine[name].grad.view(part.shape)
                    torch.testing.assert_close(found, part, rtol=1e-10, atol=1e-12)


def named(weights):
    return {theirs: ours(theirs) for theirs in weights if "pos_embed" not in theirs}
