"""How fast a moving average follows, which every family with such a teacher states alike."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from trainer.config.node import Node


class AveragingNode(Node):
    """A decay, stated by itself or by its half-life; half_life=0.05 where neither is given."""

    half_life: Annotated[float, Field(gt=0, le=1)] | None = None
    """Steps after which a weight's share has halved, as a fraction of the schedule's horizon."""
    decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """tau itself, the share of a step that stays; exclusive with half_life."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        if values.get("half_life") is not None and values.get("decay") is not None:
            raise ValueError(
                f"half_life = {values['half_life']!r} and decay = {values['decay']!r} say the same thing; give one,"
                " and null for what a preset gives"
            )
        if values.get("half_life") is None and values.get("decay") is None:
            values["half_life"] = 0.05
