"""How well a small network reads numbers (actions, poses) from frozen features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.data.philox import Purpose, derived_seed
from trainer.optimisers import AdamW
from trainer.probes.networks import relu_network
from trainer.probes.precision import in_double

HIDDEN, STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 128, 100, 256, 1e-2, 1.0


def mlp_r2(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    """Test R2 (1 is perfect, 0 the mean) of :func:`mlp_prediction`, from features (n, d) to targets (n, k), averaged
    over the outputs that vary (a constant one would cap the score)."""
    return r2(test_y, mlp_prediction(train_x, train_y, test_x))


def mlp_prediction(train_x: Tensor, train_y: Tensor, test_x: Tensor) -> Tensor:
    """What :func:`mlp_fitted` predicts for test features, (n, k)."""
    return mlp_fitted(train_x, train_y)(test_x)


def mlp_fitted(train_x: Tensor, train_y: Tensor) -> Callable[[Tensor], Tensor]:
    """A two-layer network fitted on train features, which it does not keep: from test features to (n, k).

    The network, its initialisation and its batches are the same for every feature, run and seed: HIDDEN
    ReLU units, STEPS AdamW steps with a one-cycle rate on standardised inputs and outputs. The strong decay
    is there because a thousand images are few: without it the network fits the noise of wide features.

    Args:
        train_x: (n, d) features, detached.
        train_y: (n, k) targets.
    """
    device = train_x.device
    generator = torch.Generator().manual_seed(derived_seed(0, Purpose.PROBE))
    train_x = train_x.float()
    mean, std = train_x.mean(0), train_x.std(0).clamp_min(1e-6)
    centre, spread = train_y.mean(0), train_y.std(0).clamp_min(1e-6)
    goal = ((train_y - centre) / spread).float()
    net = relu_network((train_x.shape[1], HIDDEN, goal.shape[1]), generator).to(device)
    fused = device.type in ("cpu", "cuda")
    optimiser = AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fused)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    picks = torch.randint(len(goal), (STEPS, BATCH), generator=generator).to(device)
    with torch.enable_grad():
        for pick in picks:
            optimiser.zero_grad()
            (net((train_x[pick] - mean) / std) - goal[pick]).square().mean().backward()
            optimiser.step()
            schedule.step()

    @torch.no_grad()
    def prediction(test_x: Tensor) -> Tensor:
        return net((test_x.float() - mean).div_(std)).to(centre.dtype) * spread + centre

    return prediction


def r2(truth: Tensor, prediction: Tensor) -> float:
    """Coefficient of determination of (n, k), averaged over the outputs whose truth varies; NaN if none does."""
    truth, prediction = in_double(truth), in_double(prediction)
    total = (truth - truth.mean(0)).square().sum(0)
    residual = (truth - prediction).square().sum(0)
    alive = total > 1e-9 * len(truth)
    return float((1 - residual[alive] / total[alive]).mean())
