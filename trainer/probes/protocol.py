"""The paper's frozen-probe protocol (2505.03176, section 4 and appendix A), on cached features.

Classifier: one linear layer, cross-entropy, Adam with rate 1e-3, batches of 256, 300 epochs. Regressors: one per
factor, mean squared error, the same optimiser; a network with two hidden layers of 1,024 ReLU units for 300 epochs (the
paper's choice for crop, jitter and rotation), and a linear layer for 50 epochs (its choice for blur, position and
colour). Both are fitted for every factor. The features are used as they are, not standardised, and are encoded once:
nothing random happens to them between epochs.

Probes of several features are trained side by side by one optimiser: their losses share no parameter, so the sum of
them has each one's own gradient. Initialisation and batches come from a generator of their own, the same for every
feature and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.philox import Purpose, derived_seed
from trainer.data.row_chunks import row_chunks
from trainer.optimisers import Adam
from trainer.probes.networks import relu_network
from trainer.probes.precision import in_double
from trainer.probes.ridge import Linear

BATCH, LEARNING_RATE, HIDDEN = 256, 1e-3, 1024
EPOCHS, LINEAR_EPOCHS = 300, 50
LINEAR_FACTORS = ("blur", "position", "colour")
"""Factors that the paper reads with a linear regressor; the others with the network."""
Rows = Mapping[str, Tensor]
"""{feature: (n, d)}, the same n sequences in the same order."""


def classifier_accuracies(
    train: Rows, labels: Tensor, held: Rows, held_labels: Tensor, classes: int, epochs: int = EPOCHS
) -> dict[str, float]:
    """Percent of held-out sequences that a linear classifier of each feature gets right.

    Args:
        labels: (n,) classes below ``classes``, all known; held_labels: (m,).
    """
    nets = _networks({name: (x.shape[1], classes) for name, x in train.items()}, labels.device)
    _fit(nets, train, dict.fromkeys(nets, labels), F.cross_entropy, epochs)
    with torch.no_grad():
        scores = {name: net(held[name].float()).argmax(1) == held_labels for name, net in nets.items()}
    return {name: 100 * float(in_double(right).mean()) for name, right in scores.items()}


def regressor_predictions(
    train: Rows, goals: Tensor, held: Rows, factors: Mapping[str, slice], hidden: int, epochs: int
) -> dict[str, Tensor]:
    """What one regressor per feature and factor, fitted on train features, predicts for held-out ones.

    Args:
        goals: (n, P), regressed in the units they come in.
        factors: disjoint column ranges of ``goals``.
        hidden: units of each of the two hidden layers; 0 for a linear regressor.

    Returns:
        {feature: (m, P)}; columns of no factor are NaN.
    """
    middle = (hidden, hidden) if hidden else ()
    parts = {(name, factor): goals[:, columns] for name in train for factor, columns in factors.items()}
    sizes = {key: (train[key[0]].shape[1], *middle, goal.shape[1]) for key, goal in parts.items()}
    nets = _networks(sizes, goals.device)
    _fit(
        nets,
        {key: train[key[0]] for key in parts},
        {key: goal.float() for key, goal in parts.items()},
        F.mse_loss,
        epochs,
    )
    found = {name: goals.new_full((len(x), goals.shape[1]), float("nan")) for name, x in held.items() if name in train}
    with torch.no_grad():
        for (name, factor), net in nets.items():
            found[name][:, factors[factor]] = net(held[name].float()).to(goals.dtype)
    return found


def linear_prediction(train_x: Tensor, train_y: Tensor, test_x: Tensor) -> Tensor:
    """What ridge regression on train features (n, d) and goals (n, P) predicts for (m, d) features: (m, P) in double
    precision."""
    return Linear(train_x, train_y)(test_x)


def _fit(nets: Mapping, inputs: Mapping, goals: Mapping, loss: Callable[[Tensor, Tensor], Tensor], epochs: int) -> None:
    """Train all networks on the same batches; a last batch of fewer rows is used too, a single row with those before
    it."""
    inputs = {key: x.float() for key, x in inputs.items()}
    count, device = len(next(iter(goals.values()))), next(iter(goals.values())).device
    parameters = [parameter for net in nets.values() for parameter in net.parameters()]
    optimiser = Adam(parameters, lr=LEARNING_RATE, fused=device.type in ("cpu", "cuda"))
    generator = torch.Generator().manual_seed(derived_seed(0, Purpose.PROBE))
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in row_chunks(torch.randperm(count, generator=generator).to(device), BATCH):
                optimiser.zero_grad()
                torch.stack(
                    [loss(net(inputs[key][rows]), goals[key][rows]) for key, net in nets.items()]
                ).sum().backward()
                optimiser.step()


def _networks(sizes: Mapping, device: torch.device) -> dict:
    """ReLU networks with torch's usual initialisation; each starts from the same numbers, whoever else is trained."""
    nets = {}
    for key, widths in sizes.items():
        generator = torch.Generator().manual_seed(derived_seed(0, Purpose.PROBE, 1))
        nets[key] = relu_network(widths, generator).to(device)
    return nets
