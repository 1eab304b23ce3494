"""Consolidation: a quadratic pull towards the weights of earlier segments (see
:class:`trainer.config.consolidation.ConsolidateConfig`).

The penalty's gradient is known in closed form, so it is added to what backward has accumulated, before any clipping.
Until then a parameter's gradient is the task's own, which the path integral of synaptic intelligence asks for: two
gradients for one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from trainer.config.consolidation import ConsolidateConfig


class Consolidation(nn.Module):
    """The penalty on some parameters, and what it remembers of them (in buffers, so in every checkpoint).

    Offline EWC's sum over segments is kept as one quadratic: sum_t F_t (w - w_t)^2 = A (w - m)^2 + rest, with A the sum
    of the F_t and m the mean of the w_t weighted by them. Memory does not grow with the number of segments.

    Args:
        parameters: by name; each must be trained.
    """

    def __init__(self, config: ConsolidateConfig, parameters: Mapping[str, nn.Parameter]):
        super().__init__()
        self.config = config
        # not a registered list: they are somebody else's parameters
        self._own = {"parameters": dict(parameters)}
        names = ["importance", "anchor", *(("path", "start", "before") if config.kind == "si" else ())]
        for name, parameter in parameters.items():
            for what in names:
                fresh = (
                    parameter.detach().clone() if what in ("anchor", "start", "before") else torch.zeros_like(parameter)
                )
                self.register_buffer(_key(what, name), fresh.detach())
        self.register_buffer("rest", torch.zeros((), dtype=torch.float64))
        self.register_buffer("segments", torch.zeros((), dtype=torch.int64))
        self._gradients: dict[str, Tensor] = {}
        # known beside the device: every step asks for every parameter whether there is a penalty yet
        self._holds = False
        self.register_load_state_dict_post_hook(lambda module, _: module._counted())
        for name, parameter in parameters.items():
            # a copy of the model has none of these: it is only measured
            parameter.register_post_accumulate_grad_hook(partial(self._after_backward, name))

    @property
    def factor(self) -> float:
        """What the sum of importance x distance^2 is multiplied by."""
        config = self.config
        half = 1.0 if config.kind == "si" or "no_half" in config.quirks else 0.5
        return config.strength * half * (config.gamma if "gamma_twice" in config.quirks else 1.0)

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """Its value, detached: hooks of the parameters see to the gradient."""
        total = self.rest.clone()
        for name, parameter in self._own["parameters"].items():
            distance = (parameter - self._of("anchor", name)).double()
            total += (self._of("importance", name).double() * distance.square()).sum()
        return self.factor * total

    def gradient(self, name: str) -> Tensor:
        """The penalty's gradient to one parameter."""
        distance = self._own["parameters"][name].detach() - self._of("anchor", name)
        return 2 * self.factor * self._of("importance", name) * distance

    def _after_backward(self, name: str, parameter: Tensor) -> None:
        if self._holds:
            pull = self.gradient(name)
            if self.config.kind == "si":
                total = "total_gradient" in self.config.quirks
                self._gradients[name] = parameter.grad + pull if total else parameter.grad.clone()
            parameter.grad.add_(pull)
        elif self.config.kind == "si":
            self._gradients[name] = parameter.grad.clone()
        if "clipped_gradient" in self.config.quirks:
            parameter.grad.clamp_(-1, 1)

    @torch.no_grad()
    def after_step(self) -> None:
        """Add what this step's movement did to the task's loss: minus gradient x movement."""
        if self.config.kind != "si":
            return
        for name, gradient in self._gradients.items():
            parameter, before = self._own["parameters"][name], self._of("before", name)
            self._of("path", name).sub_(gradient * (parameter - before))
            before.copy_(parameter)
        self._gradients = {}

    @torch.no_grad()
    def end_segment(self, information: Mapping[str, Tensor] | None = None) -> None:
        """Take the weights of now as those to keep.

        Args:
            information: F of the segment that ends, by parameter (:func:`information`); for EWC.
        """
        kind = self.config.kind
        for name, parameter in self._own["parameters"].items():
            importance, anchor = self._of("importance", name), self._of("anchor", name)
            if kind == "si":
                path, start = self._of("path", name), self._of("start", name)
                moved = parameter - start
                importance.add_(path.clamp_min(0) / (moved.square() + self.config.xi))
                path.zero_(), start.copy_(parameter), anchor.copy_(parameter)
            elif kind == "online_ewc":
                importance.mul_(self.config.gamma).add_(information[name])
                anchor.copy_(parameter)
            else:
                new = information[name]
                both = importance + new
                share = torch.where(both > 0, new / both.clamp_min(torch.finfo(both.dtype).tiny), 0.0)
                # the least of the two parabolas' sum, at their weighted mean
                self.rest += (importance * share * (parameter - anchor).square()).double().sum()
                anchor.lerp_(parameter, share)
                importance.copy_(both)
        self.segments += 1
        self._counted()

    def _counted(self) -> None:
        self._holds = bool(self.segments)

    def _of(self, what: str, name: str) -> Tensor:
        return getattr(self, _key(what, name))


def _key(what: str, name: str) -> str:
    return f"{what}__{name.replace('.', '__')}"


def information(
    parameters: Mapping[str, nn.Parameter],
    losses: Iterable[Callable[[], tuple[Tensor, float]]],
    one_less: bool = False,
) -> dict[str, Tensor]:
    """Mean squared gradient over samples, by parameter and in its shape.

    Args:
        losses: one per sample; makes its loss and its weight in the mean.
        one_less: divide by n - 1, as one public implementation does.
    """
    found = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    for make in losses:
        with torch.enable_grad():
            loss, weight = make()
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                total.add_(gradient.square(), alpha=weight)
        count += 1
    return {name: total / max(1, count - one_less) for name, total in found.items()}
