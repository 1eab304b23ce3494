"""What may be rented and for how much: the ``provider`` section of a cluster's YAML.

It is kept there and not in ``node_config``, because Ray ends and rents a machine again when that changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from clusters.vast.errors import VastError

RAYS_OWN = {"type", "module", "public_key", "private_key_file"}
"""Keys that Ray, or ``bootstrap_config``, puts beside these; Ray's others begin with an underscore."""

LEAST_MINUTES = 15


@dataclass(frozen=True)
class Card:
    """A kind of GPU, how many on one machine, and the most they may cost in USD per hour, storage included."""

    name: str
    count: int
    max_usd_per_hour: float


@dataclass(frozen=True)
class Limits:
    """Attributes:

    gpus: in order of preference.
    max_usd, max_hours: of one machine; it deletes itself at the first that is reached.
    idle_minutes: without a study or a Ray task, it deletes itself as well.
    boot_minutes: after that long without a working ssh it is given back and another one is taken.
    max_instances: of this project, over all clusters of the account.
    max_launches_per_hour: more means that something is wrong, and stops.
    download_gb, upload_gb: traffic expected, for the estimate of the price.
    watch_seconds: between two looks of the machine's own watchdog.
    interruptible: bid for machines that whoever bids more takes away, without notice; a study goes on with --resume.
    bid_over_min: the bid, as a multiple of the least one that is accepted.
    overlay: name of a private network, without which several machines cannot reach each other ("": one machine).
    physical_cluster: number of the service's cluster that this network is in; all machines are rented there.
    """

    gpus: tuple[Card, ...]
    max_usd: float
    max_hours: float
    idle_minutes: float = 20.0
    boot_minutes: float = 10.0
    min_reliability: float = 0.98
    min_cuda: float = 13.0
    min_download_mbps: float = 200.0
    max_instances: int = 1
    max_launches_per_hour: int = 6
    download_gb: float = 15.0
    upload_gb: float = 1.0
    watch_seconds: int = 15
    interruptible: bool = False
    bid_over_min: float = 1.2
    overlay: str = ""
    physical_cluster: int = 0


def read(provider: Mapping[str, Any]) -> Limits:
    """Raises VastError with the key, the value and the rule."""
    known = {f.name: f for f in fields(Limits)}
    if strange := {key for key in provider if not key.startswith("_")} - set(known) - RAYS_OWN:
        raise VastError(f"provider: unknown key {sorted(strange)[0]!r}; known: {', '.join(known)}")
    values: dict[str, Any] = {"gpus": _cards(provider.get("gpus"))}
    for name, field in known.items():
        if name == "gpus":
            continue
        if name not in provider:
            if name in ("max_usd", "max_hours"):
                raise VastError(f"provider.{name} is missing: a machine is only rented with a limit")
            continue
        value = provider[name]
        if field.type == "bool":
            if not isinstance(value, bool):
                raise VastError(f"provider.{name}: {value!r} must be true or false")
            values[name] = value
            continue
        if field.type == "str":
            if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9-]{1,60}", value):
                raise VastError(f"provider.{name}: {value!r} must be of lower-case letters, digits and -")
            values[name] = value
            continue
        whole = field.type == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 < value < 1e6:
            raise VastError(f"provider.{name}: {value!r} must be a positive {'whole ' if whole else ''}number")
        values[name] = value if whole else float(value)
    if values.get("min_reliability", 0) > 1:
        raise VastError(f"provider.min_reliability: {values['min_reliability']:g} is a share of 1")
    if values.get("bid_over_min", 1) < 1:
        raise VastError(f"provider.bid_over_min: {values['bid_over_min']:g} must be at least 1, a lower bid is refused")
    if "bid_over_min" in provider and not values.get("interruptible"):
        raise VastError("provider.bid_over_min has a meaning only with interruptible: true; remove it")
    if ("overlay" in values) != ("physical_cluster" in values):
        raise VastError("provider.overlay and provider.physical_cluster belong together: give both, or neither")
    return Limits(**values)


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


def _cards(rows: object) -> tuple[Card, ...]:
    if not isinstance(rows, list) or not rows:
        raise VastError("provider.gpus: give a list such as [{name: RTX 4090, count: 1, max_usd_per_hour: 0.6}]")
    found = []
    for row in rows:
        if not isinstance(row, dict) or set(row) != {"name", "count", "max_usd_per_hour"}:
            raise VastError(f"provider.gpus: {row!r} needs exactly name, count and max_usd_per_hour")
        name, count, price = str(row["name"]).replace("_", " "), row["count"], row["max_usd_per_hour"]
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 16:
            raise VastError(f"provider.gpus: {name}: count {count!r} must be 1 to 16")
        if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price < 1000:
            raise VastError(f"provider.gpus: {name}: max_usd_per_hour {price!r} must be positive")
        found.append(Card(name, count, float(price)))
    return tuple(found)
