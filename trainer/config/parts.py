"""Exchangeable parts of a model by name: one line each, and every family's settings offer them. Importing this costs no
torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.aggregators import (
    AggregatorNode,
    CrateAlphaConfig,
    CrateConfig,
    CrateEncoderConfig,
    CratePredictorConfig,
    TostConfig,
)
from trainer.config.node import Node, added, one_of, only_when
from trainer.config.vit import VitConfig


@dataclass(frozen=True)
class Encoder:
    """An encoder of images.

    Attributes:
        implementation: ``module:class`` of a :class:`trainer.blocks.faces.Encoder`.
        growth: width of a token over ``EncoderConfig.width``.
        stages: blocks that can be trained apart; None: none, or ``EncoderConfig.blocks``.
    """

    implementation: str
    growth: int
    stages: int | None = None


@dataclass(frozen=True)
class Aggregator:
    """An aggregator of views.

    Attributes:
        implementation: ``module:class`` of a :class:`trainer.blocks.faces.Aggregator`.
        config: settings of its own, as ``model.<name>``.
        unread: which of the model's ``layers``, ``heads``, ``ffn_ratio``, ``dropout`` and ``time_embedding`` it does
            not read, so that they are refused under it.
    """

    implementation: str
    config: type[AggregatorNode] | None = None
    unread: tuple[str, ...] = ()


ENCODERS = {
    "conv": Encoder("trainer.blocks.conv:ConvEncoder", growth=4, stages=3),
    "resnet18": Encoder("trainer.blocks.resnet:ResNet18", growth=8, stages=4),
    "vit": Encoder("trainer.blocks.vit:ViT", growth=1),
    "crate": Encoder("trainer.blocks.crate_encoder:CrateEncoder", growth=1),
    "stack": Encoder("trainer.blocks.residual:StackEncoder", growth=4),
}
AGGREGATORS = {
    "transformer": Aggregator("trainer.blocks.transformer:Transformer"),
    "crate": Aggregator("trainer.blocks.crate:Crate", CrateConfig, ("ffn_ratio",)),
    "crate_alpha": Aggregator("trainer.blocks.crate:CrateAlpha", CrateAlphaConfig, ("ffn_ratio",)),
    "tost": Aggregator("trainer.blocks.tost:Tost", TostConfig),
}
PREDICTORS = {"mlp": "trainer.blocks.predictor:mlp", "crate": "trainer.blocks.predictor:CratePredictor"}
"""``module:class`` of each predictor, made as :func:`trainer.blocks.faces.make_predictor` says."""
PREDICTOR_SETTINGS: dict[str, type[Node]] = {"crate": CratePredictorConfig}
"""Settings of those predictors that have some of their own, as ``model.predictor_<name>``."""


def implementation(path: str) -> Any:
    """The class that ``module:class`` names, imported now."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


# torch 2.15: widths 2 to 7 end in "free(): invalid next size" or a segmentation fault, 8 to 20 do not
MIN_RESNET_WIDTH = 8


class EncoderConfig(Node):
    """A view encoder (scientific)."""

    name: Annotated[str, one_of(ENCODERS)] = "conv"
    width: Annotated[int, Field(ge=1, le=1024)] = 8
    """Channels after the stem; conv ends with 4 x width features, resnet18 with 8 x width (64 is standard). Of vit and
    crate, the width of a token."""
    stem: Literal["cifar", "imagenet"] | None = added(None)
    """resnet18 only. cifar: 3x3 stride 1, no pooling (default, left out of the identity as null); imagenet: 7x7 stride
    2, then 3x3 max-pooling with stride 2."""
    vit: VitConfig | None = added(None)
    """vit only."""
    crate: CrateEncoderConfig | None = added(None)
    """crate only."""
    blocks: Annotated[int, Field(ge=2, le=256)] | None = added(None)
    """stack only: how many blocks, all of one width."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        only_when(values, "stem", values.get("name", "conv") == "resnet18", "encoder.name=resnet18", None)
        for name in ("vit", "crate"):
            only_when(values, name, values.get("name") == name, f"encoder.name={name}", {})
        only_when(values, "blocks", values.get("name") == "stack", "encoder.name=stack", 4)
        if values.get("stem") == "cifar":
            values["stem"] = None  # the same network must have one name

    @model_validator(mode="after")
    def _wide_enough(self) -> EncoderConfig:
        if self.name == "resnet18" and self.width < MIN_RESNET_WIDTH:
            raise ValueError(
                f"model.encoder.width = {self.width} must be at least {MIN_RESNET_WIDTH} for resnet18: on processors"
                " with AVX2 only, torch's 1 x 1 convolution with stride 2 writes outside its memory when it has fewer"
                " channels"
            )
        if self.patches is not None and (why := self.patches.problem(self.width)):
            raise ValueError(f"model.encoder.{self.name}: {why}")
        return self

    @property
    def patches(self) -> VitConfig | CrateEncoderConfig | None:
        """Settings of an encoder whose tokens are patches."""
        return self.vit or self.crate

    @property
    def stages(self) -> int | None:
        """Blocks that can be trained apart, where it has some."""
        return self.blocks or ENCODERS[self.name].stages

    def check_side(self, name: str, side: int) -> None:
        """Raise ValueError for images that are no whole number of patches; the setting ``name`` gives their side."""
        if self.patches is not None and side % self.patches.patch:
            raise ValueError(
                f"{name} = {side} must be a multiple of model.encoder.{self.name}.patch = {self.patches.patch}"
            )

    @property
    def features(self) -> int:
        """Width of a code."""
        return self.width * ENCODERS[self.name].growth
