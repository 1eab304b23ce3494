"""Values and gradients of reference implementations, and how ours are compared with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
RTOL, ATOL = 1e-10, 1e-12


class Case:
    """One piece: its settings and its arrays by group."""

    def __init__(self, file: str, name: str):
        with np.load(HERE / f"{file}.npz", allow_pickle=False) as arrays:
            about = json.loads(str(arrays["meta"]))["cases"][name]
            found = {key.split("/", 1)[1]: arrays[key] for key in arrays.files if key.startswith(f"{name}/")}
        self.settings = about["cfg"]
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in found.items():
            group, _, rest = key.partition("/")
            groups.setdefault(group, {})[rest] = torch.from_numpy(value)
        self.x, self.y = groups["in"]["x"], groups["out"]["y"]
        self.weights, self.cotangent = groups["w"], groups.get("ct", {}).get("y")
        self.gradients = {"x": groups["gin"]["x"], **groups.get("gw", {})} if "gin" in groups else {}


def compare(
    case: Case, module: nn.Module, names: Mapping[str, str], run: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Worst relative error of values and of gradients, after checking both.

    Args:
        names: our parameter's name by the reference's; every weight of the case must be named.
        run: from the input to the output; default: the module.
    """
    module.double()
    ours = dict(module.named_parameters())
    assert sorted(names) == sorted(case.weights)
    with torch.no_grad():
        for theirs, name in names.items():
            assert ours[name].numel() == case.weights[theirs].numel(), (theirs, name)
            ours[name].copy_(case.weights[theirs].view(ours[name].shape))
    x = case.x.clone().requires_grad_()
    y = (run or module)(x)
    worst = {"value": agree(y.detach(), case.y, "value")}
    if case.gradients:
        (y * case.cotangent).sum().backward()
        found = {"x": x.grad} | {theirs: ours[name].grad for theirs, name in names.items()}
        worst["gradient"] = max(
            agree(torch.zeros_like(value) if found[name] is None else found[name].view(value.shape), value, name)
            for name, value in case.gradients.items()
        )
    return worst


def agree(ours: Tensor, theirs: Tensor, what: str) -> float:
    """Check, and the worst error relative to the largest entry."""
    torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=ATOL, msg=lambda text: f"{what}: {text}")
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30))
