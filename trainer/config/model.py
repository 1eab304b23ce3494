"""seq-JEPA's modules (paper section 3, appendix A; scientific)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, added, only_when

MIN_RESNET_WIDTH = 8  # torch 2.15: widths 2 to 7 end in "free(): invalid next size" or a segmentation fault, 8 to 20 do not


class EncoderConfig(Node):
    """The view encoder f."""

    name: Literal["conv", "resnet18"] = "conv"
    width: Annotated[int, Field(ge=1, le=1024)] = 8
    """Channels after the stem; conv ends with 4 x width features, resnet18 with 8 x width (64 is standard)."""
    stem: Literal["cifar", "imagenet"] | None = added(None)
    """resnet18 only. cifar: 3x3 stride 1, no pooling (default, left out of the identity as null); imagenet: 7x7 stride 2,
    then 3x3 max-pooling with stride 2."""

    @model_validator(mode="before")
    @classmethod
    def _resnet_only(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)
            only_when(values, "stem", values.get("name", "conv") == "resnet18", "encoder.name=resnet18", None)
            if values.get("stem") == "cifar":
                values["stem"] = None  # the same network must have one name
        return values

    @model_validator(mode="after")
    def _wide_enough(self) -> EncoderConfig:
        if self.name == "resnet18" and self.width < MIN_RESNET_WIDTH:
            raise ValueError(
                f"model.encoder.width = {self.width} must be at least {MIN_RESNET_WIDTH} for resnet18: on processors with AVX2 only, torch's "
                "1 x 1 convolution with stride 2 writes outside its memory when it has fewer channels"
            )
        return self

    @property
    def features(self) -> int:
        """Width of a code."""
        return self.width * (4 if self.name == "conv" else 8)


class ModelConfig(Node):
    """Encoder, action embedding, aggregator and predictor."""

    encoder: EncoderConfig = EncoderConfig()
    action_dim: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the embedded action; the aggregator works on encoder features + action_dim."""
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    ffn_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    predictor_hidden: Annotated[int, Field(ge=0, le=65536)] = 128
    """Hidden width of the predictor; 0 means a linear predictor followed by batch-norm."""
    condition: Literal["both", "aggregator", "predictor", "none"] = added("both")
    """Which modules are told the actions (paper table 4); without them the aggregator's tokens are the bare codes."""
    action_norm: Literal["true_actions", "upstream"] = added("true_actions")
    """Batch-norm statistics of the action embedding. true_actions: one pass over the M true actions. upstream: the paper's
    code: one pass for the aggregator that includes the empty slot's zeros, another for the predictor's action."""

    @property
    def token_width(self) -> int:
        """Width of the aggregator's tokens and of z_agg."""
        return self.encoder.features + (self.action_dim if self.condition in ("both", "aggregator") else 0)

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.token_width % self.heads:
            raise ValueError(
                f"model.heads = {self.heads} must divide the token width {self.token_width} "
                f"(= {self.encoder.features} encoder features + {self.token_width - self.encoder.features} action)"
            )
        return self
