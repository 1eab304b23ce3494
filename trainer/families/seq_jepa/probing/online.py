"""Probes trained beside the model on detached features, as the research log and the paper's code reported.

They have their own Adam and never touch the model; what they read lags behind a model that changes fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.checkpoint import load_part
from trainer.data.philox import Purpose, derived_seed
from trainer.optimisers import Adam
from trainer.probes.networks import relu_network, zero_linear
from trainer.probes.precision import in_double
from trainer.probes.regression import r2


class OnlineProbe:
    """A linear classifier of z_agg and, on request, an MLP that reads the action between the first two views.

    Both are updated by one optimiser step: their losses share no parameter, so the sum has each one's own gradient.

    Args:
        features: width of z_agg.
        pair: (2 D, components of an action) for the action probe (1024-1024 hidden units, as in the log), or None.
        learning_rate: 1e-3, the log's setting.
    """

    HIDDEN = 1024

    def __init__(
        self,
        features: int,
        classes: int,
        device: torch.device,
        pair: tuple[int, int] | None = None,
        learning_rate: float = 1e-3,
    ):
        # zero weights: no random number, and the first guess favours no class
        self.linear = zero_linear(features, classes)
        modules = [self.linear]
        self.reads_actions = pair is not None
        if pair is not None:
            # two hidden layers; every run starts from the same numbers
            generator = torch.Generator().manual_seed(derived_seed(0, Purpose.PROBE))
            self.actions = relu_network((pair[0], self.HIDDEN, self.HIDDEN, pair[1]), generator)
            modules.append(self.actions)
        self._modules = nn.ModuleList(modules).to(device)
        fused = device.type in ("cpu", "cuda")
        self.optimiser = Adam(self._modules.parameters(), lr=learning_rate, fused=fused)

    def observe(self, features: dict[str, Tensor], labels: Tensor, actions: Tensor) -> None:
        """One step on a batch: ``z_agg`` (B, d) and ``z`` (B, M, D), classes (B,), -1 where unknown, actions (B, M,
        P)."""
        self.optimiser.zero_grad()
        known = (labels >= 0).sum().clamp_min(1)
        scores = self.linear(features["z_agg"].detach().float())
        loss = F.cross_entropy(scores, labels, ignore_index=-1, reduction="sum") / known
        # with one observed view there is no pair of codes to learn from
        if self.reads_actions and features["z"].shape[1] > 1:
            pair = features["z"][:, :2].detach().float().flatten(1)
            loss = loss + F.mse_loss(self.actions(pair), actions[:, 0].float())
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Percent of (n, d) aggregates classified correctly."""
        return 100 * float(in_double(self.linear(features.float()).argmax(1) == labels).mean())

    @torch.no_grad()
    def action_r2(self, first: Tensor, second: Tensor, actions: Tensor) -> float:
        """R2 of the action (n, P) from the codes (n, D) of the first two views, mean over components that vary."""
        return r2(actions, self.actions(torch.cat([first, second], dim=1).float()))

    def state_dict(self) -> dict[str, Any]:
        return {"modules": self._modules.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        began = any(name.startswith("1.") for name in state["modules"])
        if began != self.reads_actions:
            raise ValueError(
                f"eval.action_probe = {self.reads_actions}, but the run began with {began}, and the probe learns in"
                f" every step; set it to {began}"
            )
        self._modules.load_state_dict(state["modules"])
        load_part(self.optimiser, state["optimiser"])
