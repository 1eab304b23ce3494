"""A linear classifier trained beside the model on detached features, as the research log reported."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.probes.precision import in_double


class OnlineProbe:
    """Linear classifier with its own Adam; gradients stop at its input.

    Args:
        features: width of the input.
        learning_rate: 1e-3, the log's setting.
    """

    def __init__(self, features: int, classes: int, device: torch.device, learning_rate: float = 1e-3):
        # zero weights: no random number, and the first guess favours no class
        self.linear = nn.utils.skip_init(nn.Linear, features, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.linear.to(device)
        fused = device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(self.linear.parameters(), lr=learning_rate, fused=fused)

    def observe(self, features: Tensor, labels: Tensor) -> None:
        """One step on a batch of (B, d) features."""
        self.optimiser.zero_grad()
        F.cross_entropy(self.linear(features.detach().float()), labels).backward()
        self.optimiser.step()

    @torch.no_grad()
    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Percent correct."""
        return 100 * float(in_double(self.linear(features.float()).argmax(1) == labels).mean())

    def state_dict(self) -> dict[str, Any]:
        return {"linear": self.linear.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.linear.load_state_dict(state["linear"])
        self.optimiser.load_state_dict(state["optimiser"])
