"""Networks that probes fit. None takes a number from torch's global generator, which is the run's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def relu_network(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between them and torch's usual initialisation, drawn from ``generator``."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        shapes = (outputs, inputs), (outputs,)
        weight, bias = ((torch.rand(shape, generator=generator) * 2 - 1) * inputs**-0.5 for shape in shapes)
        layers += [_linear(weight, bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    return _linear(torch.zeros(outputs, inputs), torch.zeros(outputs))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """``nn.utils.skip_init`` would import sympy: half as long as torch itself."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
