"""Settings of what can be minimised (scientific), and where each regulariser is implemented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, NonNegative, Positive, added, only_when

On = Literal["agg", "z", "both"]


class WindowConfig(Node):
    """A past that the rate is computed over beside the batch: for batches of fewer rows than the feature is wide."""

    form: Literal["rows", "covariance"] = "rows"
    """rows: the last rows themselves; covariance: their running second moment."""
    rows: Annotated[int, Field(ge=1, le=65536)] | None = None
    """form=rows only: how many past rows."""
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A step's loss of weight: past features were made by older weights."""
    compensate: bool = True
    """Scale the gradient by the inverse of the batch's share in the window: otherwise the past, which has none, also
    divides it."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        rows = values.get("form", "rows") == "rows"
        only_when(values, "rows", rows, "window.form=rows", 512)
        if values.get("decay") is None:
            values["decay"] = 0.9


class RateConfig(Node):
    """The coding rate R of a feature.

    ``unit``: R = 1/2 logdet(I + d/(n eps2) Z'Z) on unit-norm rows, times (d+n)/(dn), so that one
    weight transfers across d and n (MCR2, 2006.08558; scaling as in SimDINO, 2502.10385).
    ``ln``: logdet(I + alpha C), C the covariance of features normalised without gain.
    ``log``: logdet((1 + 1e-4) I + alpha C) on the features as they are, the research log's form;
    it has no upper bound because a norm's gain can grow.
    ``diagonal``: unit without the off-diagonal, which is ToST's variational bound (2412.17810) in the coordinates of
    the feature. By Hadamard's inequality it is never below the rate, and it has its maximum at features of rank one
    whose coordinates are equally large: kept to show that it does not prevent collapse.
    """

    form: Literal["unit", "ln", "log", "diagonal"] = "unit"
    on: On = "agg"
    """agg: the aggregate; z: the codes of all observed views; both: the mean of the two terms."""
    eps2: Annotated[float, Field(gt=0, le=100)] | None = None
    """unit and diagonal only: the distortion, squared."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """ln and log only."""
    center: bool | None = None
    """Subtract the batch mean first; off for unit and diagonal, always on for ln and log."""
    window: WindowConfig | None = added(None)
    """Also over past features; unit only, of one feature."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        unit = values.get("form", "unit") in ("unit", "diagonal")
        only_when(values, "eps2", unit, "rate.form=unit", 0.05)
        only_when(values, "alpha", not unit, "rate.form=ln or log", 1.0)
        only_when(values, "center", unit, "rate.form=unit", False)
        whole = values.get("form", "unit") == "unit" and not values.get("center")
        only_when(values, "window", whole, "rate.form=unit and center=false", None)

    @model_validator(mode="after")
    def _one_window(self) -> RateConfig:
        if self.window is not None and self.on == "both":
            raise ValueError(
                "window with on = 'both': one window keeps the past of one feature; set rate.on to agg or z"
            )
        return self


class SigRegConfig(Node):
    """Sketched isotropic Gaussian regularisation (LeJEPA, 2511.08544): a control for the rate that also fixes scale."""

    on: On = "agg"
    slices: Annotated[int, Field(ge=1, le=65536)] = 256
    """Random unit directions, drawn anew each step."""
    knots: Annotated[int, Field(ge=3, le=1001)] = 17
    """Points in [0, 3] at which the empirical characteristic function is compared with the Gaussian's."""


class VicRegConfig(Node):
    """Variance and covariance terms of VICReg (2105.04906), without its invariance term: the second control."""

    on: On = "agg"
    variance: NonNegative = 1.0
    covariance: NonNegative = 0.04
    """1 : 0.04 is the paper's 25 : 1."""

    @model_validator(mode="after")
    def _something(self) -> VicRegConfig:
        if self.variance == 0 and self.covariance == 0:
            raise ValueError(
                "variance = 0 and covariance = 0 leave nothing of vicreg; set objective.weights.vicreg=0 instead"
            )
        return self


class SharpenConfig(Node):
    """Sharpened targets, instead of the cosine distance to the raw target code.

    ``dino``: cross-entropy between the softmax of the centred target and the prediction's log-softmax, each
    with its temperature (DINO, 2104.14294). ``center_cosine``: cosine distance to the centred target. ``log_cosine``:
    what the research log's code computed: cosine distance between the raw prediction and the softmaxed target.
    The centre is a moving average of target codes over all workers, read before it is updated.
    """

    form: Literal["dino", "center_cosine", "log_cosine"] = "dino"
    target_temperature: Positive | None = None
    prediction_temperature: Positive | None = None
    center_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        form = values.get("form", "dino")
        only_when(values, "target_temperature", form != "center_cosine", "sharpen.form=dino or log_cosine", 0.04)
        only_when(values, "prediction_temperature", form == "dino", "sharpen.form=dino", 0.1)


@dataclass(frozen=True)
class Regulariser:
    """A loss term that spreads features.

    Attributes:
        config: its settings.
        implementation: ``module:class`` of a :class:`trainer.losses.term.Regularising`.
        of_one_row: why it says nothing of a single row.
    """

    config: type[Node]
    implementation: str
    of_one_row: str = "one row has no spread"


REGULARISERS = {
    "rate": Regulariser(
        RateConfig, "trainer.losses.coding_rate:CodingRate", "the coding rate of one row is a constant"
    ),
    "sigreg": Regulariser(SigRegConfig, "trainer.losses.sigreg:SigReg", "one row has no distribution"),
    "vicreg": Regulariser(VicRegConfig, "trainer.losses.vicreg:VicReg", "one row has no variance"),
}
"""By the name of their weight: one line each, and everything that can be regularised offers them."""
