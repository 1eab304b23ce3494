"""One optimiser step of any method: forward, backward, clipping, update, and what moves without gradient."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from trainer.config import RunConfig
from trainer.errors import UsageError
from trainer.meter import Meter
from trainer.method import Group, Method, Output, Probes
from trainer.optimisers import OPTIMISERS
from trainer.schedule import learning_rate
from trainer.source import Batch, Source

Evaluate = Callable[[Batch], tuple[Output, Tensor]]
"""A method's output and loss of a batch."""
Scalars = dict[str, float | None]
Rates = Callable[[int], tuple[float, Scalars]]
Learnt = tuple[dict[str, Tensor], Tensor]
"""What the loop keeps of a step: what the probes keep, by name, and the meter's scalars (n,)."""


class Step:
    """Called once per step, trains on the next batch.

    Args:
        learn: trains on a batch at a learning rate and a method's scalars.
        rates: learning rate and scalars of a step.
    """

    def __init__(self, source: Source, learn: Callable[..., Learnt], rates: Rates):
        self._source, self._learn, self._rates = source, learn, rates

    def __call__(self, step: int) -> Learnt:
        """Train on the batch of step ``step``, which must be the next."""
        rate, scalars = self._rates(step)
        batch = self._source.next()
        if self._source.step != step + 1:
            raise UsageError(
                f"{type(self._source).__name__}.next(): step is {self._source.step} after {step + 1} batches; it must"
                " count them, or the run never ends"
            )
        return self._learn(batch, rate, given(scalars))


class Learner:
    """Trains a method, and what its probes train beside it.

    Args:
        model: ``method`` itself, or its wrapper for several workers.

    Attributes:
        evaluate: the method's output and loss of a batch; may be exchanged for a compiled one.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device,
        method: Method,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        probes: Probes,
    ):
        self.config, self.device, self.method, self.model = config, device, method, model
        self.optimiser, self.probes, self.meter = optimiser, probes, Meter(method.weights)
        self._groups = method.parameter_groups()
        self.evaluate: Evaluate = self.evaluator(model)

    def evaluator(self, model: torch.nn.Module) -> Evaluate:
        """``evaluate`` by another wrapper of the method."""
        return partial(forward, self.config, self.device.type, model, self.method.weights)

    def rates(self, step: int) -> tuple[float, Scalars]:
        return rates(self.config, self.method, step)

    def __call__(self, batch: Batch, rate: float | Tensor, scalars: Mapping[str, float | Tensor]) -> Learnt:
        """Train on a batch."""
        output, loss = update(
            self.config, self.evaluate, self.method, self.optimiser, self._groups, batch, rate, scalars
        )
        return self.probes.observe(output, batch), self.meter.values(output, loss)


def rates(config: RunConfig, method: Method, step: int) -> tuple[float, Scalars]:
    """Learning rate and the method's scalars of a step."""
    return learning_rate(config, step), method.schedule(step)


def given(scalars: Scalars) -> dict[str, float]:
    """The scalars that there are."""
    return {name: value for name, value in scalars.items() if value is not None}


def optimise(
    config: RunConfig, step: int, model: torch.nn.Module, method: Method, optimiser: torch.optim.Optimizer, batch: Batch
) -> tuple[Output, Tensor]:
    """One step on a batch. Nothing here waits for the device.

    Args:
        model: ``method`` itself, or its wrapper (several workers, compiled).

    Returns:
        The method's output and the loss.
    """
    evaluate = partial(forward, config, next(method.parameters()).device.type, model, method.weights)
    rate, scalars = rates(config, method, step)
    return update(config, evaluate, method, optimiser, method.parameter_groups(), batch, rate, given(scalars))


def update(
    config: RunConfig,
    evaluate: Evaluate,
    method: Method,
    optimiser: torch.optim.Optimizer,
    groups: list[Group],
    batch: Batch,
    rate: float | Tensor,
    scalars: Mapping[str, float | Tensor],
) -> tuple[Output, Tensor]:
    """:func:`optimise` at given rates, which a recorded step (:mod:`trainer.fast.captured`) reads from the device.

    Args:
        groups: the method's, in the optimiser's order.
    """
    for group, settings in zip(groups, optimiser.param_groups, strict=True):
        settings["lr"] = rate if group.lr_scale == 1.0 else group.lr_scale * rate
    output, loss = evaluate(batch)
    optimiser.zero_grad()
    loss.backward()
    clip(method, groups, config.optim.clip_norm)
    optimiser.step()
    method.after_step(scalars)
    return output, loss


def clip(method: Method, groups: list[Group], norm: float | None) -> None:
    """Clip the gradient of each group with a limit of its own, and of everything else together to ``norm``."""
    apart = [group for group in groups if group.clip_norm is not None]
    for group in apart:
        torch.nn.utils.clip_grad_norm_(group.params, group.clip_norm)
    if norm is not None:
        limited = {id(parameter) for group in apart for parameter in group.params}
        torch.nn.utils.clip_grad_norm_([p for p in method.parameters() if id(p) not in limited], norm)


def forward(
    config: RunConfig, device: str, model: torch.nn.Module, weights: dict[str, float], batch: Batch
) -> tuple[Output, Tensor]:
    """The method's output and the weighted loss, in the configured precision; ``device`` is the type of the device."""
    with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
        output = model(batch)
    return output, total_loss(output.terms, weights)


def total_loss(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The weighted sum of a method's loss terms, the only place where they meet.

    Raises:
        UsageError: a term has no weight, or a weight no term.
    """
    wanted = [name for name, weight in weights.items() if weight]
    if not (all(name in terms for name in wanted) and all(name in weights for name in terms)):
        raise UsageError(
            f"loss terms {sorted(terms)} and weights {weights} must have the same names: "
            "a term without a weight would be lost, a weight without a term would do nothing"
        )
    # a weight of zero leaves its term out: 0 x NaN is NaN, and its gradient need not be computed
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def make_optimiser(config: RunConfig, method: Method) -> torch.optim.Optimizer:
    """The configured optimiser over the method's trained parameters, fused where the device has it."""
    optim, device = config.optim, next(method.parameters()).device.type
    # lr_scale and clip_norm stay with the method: an optimiser restored from a checkpoint forgets what it was not saved
    # with
    groups = [{"params": group.params, "weight_decay": group.weight_decay} for group in method.parameter_groups()]
    times = Counter(id(p) for group in groups for p in group["params"])
    wrong = [name for name, p in method.named_parameters() if p.requires_grad and times[id(p)] != 1]
    if wrong:
        raise UsageError(
            f"{type(method).__name__}.parameter_groups(): {', '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''} not"
            " in exactly one group; give each trained parameter one, and the others requires_grad=False"
        )
    make = OPTIMISERS[optim.name]
    return make(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2), fused=device in ("cpu", "cuda"))


def distributed(method: Method) -> DistributedDataParallel:
    """Averages gradients; buffers are equal on all workers already, since batch-norm is over the global batch."""
    with warnings.catch_warnings():
        # newer torch renames the option, torch 2.11 does not know the new name
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(method, broadcast_buffers=False)
