"""Holding weights that mattered for earlier segments (scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Fraction, Node, Positive, only_when

Quirk = Literal["clipped_gradient", "total_gradient", "one_sample_less", "gamma_twice", "no_half"]
OF = {
    "clipped_gradient": ("si",),
    "total_gradient": ("si",),
    "one_sample_less": ("ewc", "online_ewc"),
    "gamma_twice": ("online_ewc",),
    "no_half": ("ewc", "online_ewc"),
}
"""Which kinds a quirk is of."""


class ConsolidateConfig(Node):
    """A quadratic penalty on the distance from weights at the ends of earlier segments.

    ``si``: synaptic intelligence (Zenke et al., 1703.04200), ``strength * sum Omega (w - w*)^2``. ``ewc``: elastic
    weight consolidation (Kirkpatrick et al., 1612.00796), ``strength / 2 * sum_t sum F_t (w - w_t*)^2``. ``online_ewc``
    (Schwarz et al., 1805.06370): one such term, with F = gamma F + F_t and the latest weights. F is the mean squared
    gradient of the prediction loss of one sequence at a time, in evaluation mode: an *empirical* Fisher information of
    a loss that is no likelihood.
    """

    kind: Literal["si", "ewc", "online_ewc"] = "si"
    strength: Positive = 1.0
    xi: Positive | None = None
    """si: keeps the division finite where a weight has hardly moved."""
    gamma: Fraction | None = None
    """online_ewc: how much of the earlier information is kept at the end of a segment."""
    samples: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """ewc, online_ewc: sequences of the segment that F is estimated on."""
    quirks: Annotated[tuple[Quirk, ...], Field(strict=False)] = ()
    """What public code does otherwise. clipped_gradient: every component of the gradient clipped to 1 before the
    step (mammoth; the path integral uses the unclipped one). total_gradient: the path integral takes the penalty's
    gradient too (GMvandeVen/continual-learning). one_sample_less: F divided by n - 1 (the same). gamma_twice: gamma
    also in the penalty (the same). no_half: no 1/2 before EWC's sum (mammoth)."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        kind = values.get("kind", "si")
        only_when(values, "xi", kind == "si", "consolidate.kind=si", 0.1)
        only_when(values, "gamma", kind == "online_ewc", "consolidate.kind=online_ewc", 1.0)
        only_when(values, "samples", kind != "si", "consolidate.kind=ewc or online_ewc", 200)

    @model_validator(mode="after")
    def _quirks_of_the_kind(self) -> ConsolidateConfig:
        for quirk in self.quirks:
            if self.kind not in OF[quirk]:
                raise ValueError(f"consolidate.quirks: {quirk} is of {' and '.join(OF[quirk])}, not of {self.kind}")
        return self
