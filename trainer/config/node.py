"""What every branch of the configuration shares."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Node(BaseModel):
    """A frozen branch of the tree; unknown keys, other types (true is not 1), NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = dict(values)  # the caller's stays as it is
            cls.resolve(values)
        return values

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        """Fill in, from the settings given, those that depend on others; before any of them is checked."""


def added(value: Any) -> Any:
    """A field that came later, with the value that reproduces what was done before it existed.

    At that value it stays out of the arm's hash, so identifiers on disk remain valid (``trainer.record.identity``).
    """
    return Field(value, json_schema_extra={"legacy": value})


def one_of(names: Collection[str]) -> AfterValidator:
    """A rule for a field that holds one of some names."""

    def known(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} must be one of {', '.join(names)}")
        return value

    return AfterValidator(known)


def only_when(values: Any, field: str, condition: bool, when: str, default: Any) -> None:
    """Resolve a field that means something only under another setting.

    Under the condition a missing value becomes ``default``; otherwise giving one is an error, so
    that no option is read and ignored and no unused value splits one arm into two.
    """
    if condition:
        if values.get(field) is None:
            values[field] = default
    elif values.get(field) is not None:
        raise ValueError(
            f"{field} = {values[field]!r} has a meaning only with {when}; remove it, or set it to null where a preset"
            " gives it"
        )
