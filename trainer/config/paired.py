"""Settings of losses that compare two views of the same images (scientific)."""

from __future__ import annotations

from pydantic import model_validator

from trainer.config.losses import Regulariser
from trainer.config.node import Node, NonNegative, Positive


class CJepaConfig(Node):
    """VICReg (2105.04906) as C-JEPA (2410.19560) adds it to a JEPA, there with a weight of 0.001."""

    invariance: NonNegative = 25.0
    variance: NonNegative = 25.0
    covariance: NonNegative = 1.0

    @model_validator(mode="after")
    def _something(self) -> CJepaConfig:
        if not self.invariance:
            raise ValueError("invariance = 0 leaves nothing that compares views; use objective.weights.vicreg instead")
        return self


class NTXentConfig(Node):
    """Contrastive loss of SimCLR (2002.05709): the other view of an image against all other images."""

    temperature: Positive = 0.5


PAIRED = {
    "c_jepa": Regulariser(CJepaConfig, "trainer.losses.vicreg_pairs:VicRegPairs"),
    "nt_xent": Regulariser(NTXentConfig, "trainer.losses.nt_xent:NTXent"),
}
"""By the name of their weight, for families that see two views of an image side by side."""
