"""Settings of aggregators, and of a predictor and an encoder made of the same blocks, that have some of their own
(scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.config.node import Fraction, Node, NonNegative, Positive, only_when


class AggregatorNode(Node):
    """What every aggregator's own settings have."""

    expand: Annotated[float, Field(gt=0, le=16)] | None = None
    """Width inside over that of the tokens, rounded to a multiple of the heads, between linear maps from the tokens and
    back: to match another aggregator's parameters. Default: the tokens' own width, without maps."""

    def width(self, tokens: int, heads: int) -> int:
        """Width inside, for tokens of a width."""
        return tokens if self.expand is None else heads * max(1, round(self.expand * tokens / heads))


class CodingNode(Node):
    """Attention in subspaces and sparse coding, as in CRATE (2306.01129)."""

    form: Literal["code", "paper"] = "code"
    """code: what the authors' code computes, a scaled softmax and a free linear layer behind the heads. paper: the
    gradient step (1 - k) x + k MSSA(x), in which each head writes into the subspace that it reads."""
    compression: Fraction | None = None
    """form=paper only: k."""
    step: Positive = 0.1
    """Of the proximal gradient on the code."""
    threshold: NonNegative = 0.1
    """Weight of |z|_1: a step shrinks a code by step x threshold."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        only_when(values, "compression", values.get("form", "code") == "paper", "form=paper", 0.5)


class CrateConfig(AggregatorNode, CodingNode):
    """aggregator=crate: a square dictionary, one step, no residual around the coding."""


class CrateAlphaConfig(AggregatorNode, CodingNode):
    """aggregator=crate_alpha (2405.20299): overcomplete dictionary, two steps, a read-out of its own, a residual."""

    ratio: Annotated[float, Field(ge=1, le=64)] = 4.0
    """Atoms of the dictionary over channels."""
    scale: Positive | None = None
    """Start of a learned factor per channel on both branches (LayerScale, 1e-5 in the authors' JAX code); default:
    none."""


class TostConfig(AggregatorNode):
    """aggregator=tost (2412.17810): token-statistics attention over the views, then a read-out that sees first
    moments."""

    readout: Literal["class_attention", "pool"] = "class_attention"
    """class_attention: blocks in which an [AGG] token attends to the views, as in ToST's image models. pool: the mean
    of the views' projections, weighted by their membership in each head."""
    class_layers: Annotated[int, Field(ge=1, le=8)] | None = None
    """readout=class_attention only: its blocks, beside ``model.layers`` of token-statistics attention. One can be
    streamed, two are what ToST's image models have."""
    causal: bool = False
    """A view's token sees the views up to it, so that views can come one at a time."""
    scale: Positive = 1.0
    """Start of the learned factor per channel on every branch (LayerScale)."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        attends = values.get("readout", "class_attention") == "class_attention"
        only_when(values, "class_layers", attends, "readout=class_attention", 1)


class CratePredictorConfig(CodingNode):
    """predictor=crate: CRATE blocks over the aggregate's token and the action's, and a linear layer."""

    layers: Annotated[int, Field(ge=1, le=8)] = 1
    heads: Annotated[int, Field(ge=1, le=64)] = 4


class CrateEncoderConfig(CodingNode):
    """encoder.name=crate: white-box blocks over patches; ``encoder.width`` is the width of a token."""

    patch: Annotated[int, Field(ge=1, le=64)] = 4
    """Side of a patch in pixels; it must divide the side of every image."""
    depth: Annotated[int, Field(ge=1, le=64)] = 4
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    dictionary: Literal["square", "overcomplete"] = "square"
    """square: CRATE's coding, one step that replaces the token. overcomplete: CRATE-alpha's, two steps and a residual,
    for stacks of more than about three blocks."""
    ratio: Annotated[float, Field(ge=1, le=64)] | None = None
    """dictionary=overcomplete only: atoms over channels."""
    scale: Positive | None = None
    """dictionary=overcomplete only: start of a learned factor per channel on both branches; default: none."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        super().resolve(values)
        over = values.get("dictionary", "square") == "overcomplete"
        only_when(values, "ratio", over, "dictionary=overcomplete", 4.0)
        only_when(values, "scale", over, "dictionary=overcomplete", None)

    def problem(self, width: int) -> str | None:
        """Why tokens of this width cannot be, in one sentence."""
        if width % self.heads:
            return f"heads = {self.heads} must divide the width {width}"
        return f"width = {width} must be a multiple of 4 for the places of patches" if width % 4 else None

    def macs(self, tokens: int, width: int) -> float:
        """Of one image's forward pass through the blocks."""
        coding = 3 if self.ratio is None else 4 * self.ratio
        return self.depth * tokens * width * ((2 + coding) * width + 2 * tokens)
