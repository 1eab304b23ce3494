"""What may be rented and for how much: the ``provider`` section of a cluster's YAML.

It is kept there and not in ``node_config``, because Ray ends and rents a machine again when that changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clusters.vast.errors import VastError

RAYS_OWN = {"type", "module", "public_key", "private_key_file"}
"""Keys that Ray, or ``bootstrap_config``, puts beside these; Ray's others begin with an underscore."""

LEAST_MINUTES = 15


STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
Amount = Annotated[float, Field(gt=0, lt=1e6)]
Count = Annotated[int, Field(gt=0, lt=1e6)]


class Card(BaseModel):
    """A kind of GPU, how many on one machine, and the most they may cost in USD per hour, storage included."""

    model_config = STRICT
    name: Annotated[str, AfterValidator(lambda name: name.replace("_", " "))]
    count: Annotated[int, Field(ge=1, le=16)]
    max_usd_per_hour: Annotated[float, Field(gt=0, lt=1000)]


class Limits(BaseModel):
    """Attributes:

    gpus: in order of preference.
    max_usd, max_hours: of one machine; it deletes itself at the first that is reached.
    idle_minutes: without a study or a Ray task, it deletes itself as well.
    boot_minutes: after that long without a working ssh it is given back and another one is taken.
    min_reliability: a share of 1.
    max_instances: of this project, over all clusters of the account.
    max_launches_per_hour: more means that something is wrong, and stops.
    download_gb, upload_gb: traffic expected, for the estimate of the price.
    watch_seconds: between two looks of the machine's own watchdog.
    interruptible: bid for machines that whoever bids more takes away, without notice; a study goes on with --resume.
    bid_over_min: the bid, as a multiple of the least one that is accepted; a lower one is refused.
    overlay: name of a private network, without which several machines cannot reach each other ("": one machine).
    physical_cluster: number of the service's cluster that this network is in; all machines are rented there.
    """

    model_config = STRICT
    gpus: Annotated[tuple[Card, ...], Field(strict=False)]
    max_usd: Amount
    max_hours: Amount
    idle_minutes: Amount = 20.0
    boot_minutes: Amount = 10.0
    min_reliability: Annotated[float, Field(gt=0, le=1)] = 0.98
    min_cuda: Amount = 13.0
    min_download_mbps: Amount = 200.0
    max_instances: Count = 1
    max_launches_per_hour: Count = 6
    download_gb: Amount = 15.0
    upload_gb: Amount = 1.0
    watch_seconds: Count = 15
    interruptible: bool = False
    bid_over_min: Annotated[float, Field(ge=1, lt=1e6)] = 1.2
    overlay: Annotated[str, Field(pattern="^[a-z0-9-]{0,60}$")] = ""
    physical_cluster: Annotated[int, Field(ge=0, lt=1e6)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Limits:
        if not self.gpus:
            raise ValueError("gpus: give a list such as [{name: RTX 4090, count: 1, max_usd_per_hour: 0.6}]")
        if "bid_over_min" in self.model_fields_set and not self.interruptible:
            raise ValueError("bid_over_min has a meaning only with interruptible: true; remove it")
        if bool(self.overlay) != bool(self.physical_cluster):
            raise ValueError("overlay and physical_cluster belong together: give both, or neither")
        return self


def read(provider: Mapping[str, Any]) -> Limits:
    """Raises VastError with the key, the value and the rule."""
    own = {key: value for key, value in provider.items() if not key.startswith("_") and key not in RAYS_OWN}
    try:
        return Limits.model_validate(own)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["provider", *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            raise VastError(f"{where}: unknown key; known: {', '.join(Limits.model_fields)}") from None
        given = "" if first["type"] in ("missing", "value_error") else f" = {first['input']!r}"
        raise VastError(f"{where}{given}: {first['msg'].removeprefix('Value error, ')}") from None


def seconds(limits: Limits, usd_per_hour: float) -> tuple[int, int]:
    """How long a machine of that price lives: by the clock, and by money.

    Raises:
        VastError: the money is gone before anything useful is done.
    """
    money = int(limits.max_usd / usd_per_hour * 3600) if usd_per_hour else int(limits.max_hours * 3600)
    if money < LEAST_MINUTES * 60:
        raise VastError(
            f"provider.max_usd: {limits.max_usd:g} USD last {money / 60:.0f} minutes at {usd_per_hour:.2f} USD "
            f"per hour; allow at least {LEAST_MINUTES}"
        )
    return int(limits.max_hours * 3600), money
