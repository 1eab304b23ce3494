"""Values and gradients of reference implementations, and how ours are compared with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oracles.page import Row, note

HERE = Path(__file__).resolve().parent
DOUBLE, SINGLE, SMALL = 1e-10, 1e-5, 0.01
"""Tolerances of double and single precision, relative to an array's largest entry, or to this if all are smaller."""


class Case:
    """One piece: its name, its settings, and its arrays by group (``oracles/README.md``)."""

    def __init__(self, file: str, name: str):
        with np.load(HERE / f"{file}.npz", allow_pickle=False) as arrays:
            about = json.loads(str(arrays["meta"]))["cases"]
            found = {key.split("/", 1)[1]: arrays[key] for key in arrays.files if key.startswith(f"{name}/")}
        self.piece, self.settings = f"{file}/{name}", about.get(name, {}).get("cfg", {})
        self.arrays = {key: torch.from_numpy(np.array(value)) for key, value in found.items()}
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in self.arrays.items():
            group, _, rest = key.partition("/")
            groups.setdefault(group, {})[rest] = value
        self.inputs, self.outputs, self.weights, self.cotangents, self.gradients, self.weight_gradients = (
            groups.get(group, {}) for group in ("in", "out", "w", "ct", "gin", "gw")
        )

    @property
    def x(self) -> Tensor:
        return self.inputs["x"]

    @property
    def y(self) -> Tensor:
        return self.outputs["y"]

    def equals(self, got: Any, wanted: Any, compared: str = "values", tolerance: float = DOUBLE) -> None:
        equals_oracle(self.piece, got, wanted, compared, tolerance)


def equals_oracle(piece: str, got: Any, wanted: Any, compared: str = "values", tolerance: float = DOUBLE) -> None:
    """Check ours against the reference's, within ``tolerance`` of the largest entry, and note the worst error."""
    ours = torch.tensor(got, dtype=torch.float64) if isinstance(got, float) else torch.as_tensor(got).detach()
    theirs = torch.as_tensor(wanted).detach()
    precision = {torch.float64: "fp64", torch.float32: "fp32"}.get(ours.dtype, "integers")
    ours, theirs = ours.double(), theirs.double()
    assert ours.shape == theirs.shape, f"{piece}, {compared}: {tuple(ours.shape)}, not {tuple(theirs.shape)}"
    worst = float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), SMALL)
    assert worst <= tolerance, f"{piece}, {compared}: off by {worst:.1e}, not within {tolerance:.0e}"
    note(Row.of(piece, compared, precision, f"{tolerance:.0e}" if tolerance else "equal", f"{worst:.0e}"))


def within_errors(piece: str, got: Any, wanted: Any, error: Any, limit: float, compared: str) -> None:
    """Check frequencies or means against the reference's, within ``limit`` standard errors of their difference."""
    ours, theirs, spread = (np.asarray(one, dtype=float) for one in (got, wanted, error))
    assert ((spread > 0) | (ours == theirs)).all(), f"{piece}, {compared}: they differ where nothing varies"
    away = float((np.abs(ours - theirs) / np.where(spread > 0, spread, 1.0)).max())
    assert away <= limit, f"{piece}, {compared}: {away:.1f} standard errors away"
    note(Row.of(piece, compared, "samples", f"{limit:g} s.e.", f"{away:.1f} s.e."))


def levels_apart(piece: str, got: Tensor, wanted: Tensor, limit: int, compared: str) -> None:
    """Check pixels of 8 bits against the reference's."""
    away = int((got.int() - wanted.int()).abs().max())
    assert away <= limit, f"{piece}, {compared}: {away} levels apart"
    note(Row.of(piece, compared, "uint8", f"{limit} of 255", f"{away} of 255"))


def compare(
    case: Case, module: nn.Module, names: Mapping[str, str], run: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Check values and gradients of a piece with one input and one output.

    Args:
        names: our parameter's name by the reference's; every weight of the case must be named.
        run: from the input to the output; default: the module.
    """
    assert sorted(names) == sorted(case.weights)
    ours = {theirs: (name,) for theirs, name in names.items()}
    for dtype, tolerance in ((torch.float32, SINGLE), (torch.float64, DOUBLE)):
        module.to(dtype).zero_grad()
        copy(module, case.weights, ours)
        x = case.x.to(dtype, copy=True).requires_grad_()
        y = (run or module)(x)
        case.equals(y, case.y, tolerance=tolerance)
        if case.gradients:
            (y * case.cotangents["y"].to(dtype)).sum().backward()
            case.equals(x.grad, case.gradients["x"], "gradients", tolerance)
            same_gradients(case, module, ours, tolerance)


def copy(module: nn.Module, weights: Mapping[str, Tensor], names: Mapping[str, Sequence[str | None]]) -> None:
    """Give a module the reference's weights; one of theirs may be several of ours in equal parts, None what we lack."""
    mine = dict(module.named_parameters())
    with torch.no_grad():
        for theirs, ours in names.items():
            for name, part in zip(ours, weights[theirs].chunk(len(ours)), strict=True):
                if name is not None:
                    assert mine[name].numel() == part.numel(), (theirs, name)
                    mine[name].copy_(part.view(mine[name].shape))


def same_gradients(
    case: Case, module: nn.Module, names: Mapping[str, Sequence[str | None]], tolerance: float = DOUBLE
) -> None:
    """Check the gradient of every named weight; of what we lack it must be zero."""
    mine = dict(module.named_parameters())
    for theirs, ours in names.items():
        for name, part in zip(ours, case.weight_gradients[theirs].chunk(len(ours)), strict=True):
            found = None if name is None else mine[name].grad
            found = next(module.parameters()).new_zeros(part.shape) if found is None else found.view(part.shape)
            case.equals(found, part, "gradients", tolerance)
