"""Settings of a vision transformer (scientific)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, Positive, added

Attention = Literal["auto", "flash", "efficient", "cudnn", "math"]


class VitConfig(Node):
    """A pre-norm vision transformer without class token; ``encoder.width`` is the width of a token."""

    patch: Annotated[int, Field(ge=1, le=64)] = 4
    """Side of a patch in pixels; it must divide the side of every image."""
    depth: Annotated[int, Field(ge=1, le=64)] = 4
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    positions: Literal["sincos", "rope"] = "sincos"
    """sincos: fixed 2-D sinusoids are added to the patches; rope: queries and keys are turned by row and column
    instead. Neither is learnt, and both hold for any grid."""
    layer_scale: Positive | None = added(None)
    """Initial gain of each residual branch, per channel (CaiT, DeiT-III); none: no such gains."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = added(0.0)
    """Probability that the last block's branches are left out for a sample; it grows linearly with depth."""
    attention: Attention = added("auto")
    """Kernel of the attention. auto: torch's choice; any other is used, or the run is refused. Probes in float32
    are computed by torch's choice where the named kernel takes half precision only (flash and cudnn on CUDA)."""
    checkpointing: bool = added(False)
    """Compute activations of the blocks again in the backward pass instead of keeping them: less memory, more time."""

    @model_validator(mode="after")
    def _a_block_to_leave_out(self) -> VitConfig:
        if self.drop_path and self.depth == 1:
            raise ValueError(f"drop_path = {self.drop_path}: a first block is never left out; take depth of 2 or more")
        return self

    def problem(self, width: int) -> str | None:
        """Why tokens of this width cannot be, in one sentence."""
        if width % self.heads:
            return f"heads = {self.heads} must divide the width {width}"
        if self.positions == "rope" and width // self.heads % 4:
            return f"width / heads = {width // self.heads} must be a multiple of 4 for positions=rope"
        if self.positions == "sincos" and width % 4:
            return f"width = {width} must be a multiple of 4 for positions=sincos"
        return None

    def macs(self, tokens: int, width: int) -> float:
        """Of one image's forward pass through the blocks."""
        return stack_macs(tokens, width, self.depth, self.mlp_ratio)


def stack_macs(tokens: int, width: int, depth: int, mlp_ratio: float) -> float:
    """Of one sequence's forward pass: projections, attention and the two layers behind it."""
    return depth * tokens * width * ((4 + 2 * mlp_ratio) * width + 2 * tokens)
