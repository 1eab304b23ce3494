"""What one block learns from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config.local import LocalConfig
from trainer.losses.lpl import decorrelation, pull, push, stale_push, statistics
from trainer.losses.prediction import cosine_distance, wide


class LocalRule(nn.Module):
    """LPL, or LPL with actions, of one block's pooled output.

    Args:
        width: of the output; actions: components of an action.
    """

    def __init__(self, config: LocalConfig, width: int, actions: int):
        super().__init__()
        self.config = config
        self.operator = nn.Linear(width + actions, width) if config.rule == "action_lpl" else None
        if self.operator is not None:
            # at first the next view is predicted to be this one, as plain LPL does
            nn.init.zeros_(self.operator.weight)
            nn.init.zeros_(self.operator.bias)
        if config.stale:
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("variance", torch.ones(width))

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Scalar loss of (V, B, D) outputs of consecutive views and the actions (V-1, B, A) between them."""
        config, z = self.config, wide(z)
        prediction = z[:-1]
        if self.operator is not None:
            prediction = prediction + self.operator(torch.cat([prediction, actions.to(z.dtype)], -1))
        # copies: they move before backward has read them
        spread = stale_push(z, self.mean.clone(), self.variance.clone()) if config.stale else push(z)
        loss = config.pull * pull(prediction, z[1:]) + config.push * spread + config.decorrelate * decorrelation(z)
        if config.stale and self.training:
            mean, variance = statistics(z.detach())
            # in their places, where a recorded step reads them
            self.mean.copy_(mean), self.variance.copy_(variance)
        return loss


class Head(nn.Module):
    """A block's own prediction of the target's code.

    Args:
        told: width of the embedded action, 0 without it.
    """

    def __init__(self, width: int, told: int, outputs: int):
        super().__init__()
        self.told, self.norm, self.linear = told > 0, nn.LayerNorm(width), nn.Linear(width + told, outputs)

    def forward(self, token: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (B, T) tokens, the embedded action (B, E) to the target and its code (B, D)."""
        x = self.norm(token)
        return cosine_distance(self.linear(torch.cat([x, action], 1) if self.told else x), target)


class RidgeHead(nn.Module):
    """A block's prediction of the target's code by ridge regression on what came by, the latest first.

    Its weights are solved from running second moments, which the step's own rows are part of; gradient reaches the
    token, not the weights.
    """

    MEMORY, PENALTY = 0.99, 1e-2
    """Weight of the moments after one more step, and the penalty as a share of the mean squared input."""

    def __init__(self, width: int, told: int, outputs: int):
        super().__init__()
        self.told, size = told > 0, width + told + 1
        self.register_buffer("inputs", torch.zeros(size, size))
        self.register_buffer("across", torch.zeros(size, outputs))

    def forward(self, token: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """As :meth:`Head.forward`."""
        with torch.autocast(token.device.type, enabled=False):
            x, target = wide(token), wide(target)
            x = F.layer_norm(x, x.shape[1:])
            x = torch.cat([x, *([wide(action)] if self.told else []), torch.ones_like(x[:, :1])], 1)
            return cosine_distance(x @ self._weights(x.detach(), target), target)

    @torch.no_grad()
    def _weights(self, x: Tensor, target: Tensor) -> Tensor:
        """(W, D) of (B, W) inputs and (B, D) targets, and of those before."""
        for moment, new in ((self.inputs, x.T @ x), (self.across, x.T @ target)):
            moment.lerp_(new / len(x), 1 - self.MEMORY)
        matrix = self.inputs.clone()
        matrix.diagonal().add_(self.PENALTY * matrix.diagonal().mean())
        weights = torch.linalg.solve(matrix.cpu(), self.across.cpu()) if x.device.type == "mps" else None
        return torch.linalg.solve(matrix, self.across) if weights is None else weights.to(x.device)


def pooled(maps: Tensor, views: int) -> Tensor:
    """(V, B, C) mean over positions of (V * B, C, H, W) maps, view after view."""
    return F.adaptive_avg_pool2d(maps, 1).flatten(1).unflatten(0, (views, -1))
